"""Names and claims for the whole cluster: one holder on all hosts, as a real etcd decides."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AlreadyRegistered, ClusterUnavailable, Reach, Registry, Timeout
from adsum.claim import ClusterClaim
from tests.support.etcd import EtcdCluster

from ..support import WITHIN, eventually
from .hosts import Hosts, hosts


@pytest.fixture
def cluster(registry_folder: Path, etcd: EtcdCluster, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """Hosts of a cluster of this test's own."""
    registry_folder.mkdir()
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60].strip("-")
    with hosts(registry_folder, etcd.address(name)) as made:
        yield made


@pytest.fixture
def two(cluster: Hosts) -> tuple[Registry, Registry]:
    return cluster.open("a"), cluster.open("b")


def test_a_name_has_one_holder_on_all_hosts(two: tuple[Registry, Registry]) -> None:
    """The second is refused, with the holder's entry; without `everywhere`, equal names are two entries."""
    a, b = two
    first = a.register("leader", everywhere=True)
    assert first.fencing_token > 0
    assert first.valid
    with pytest.raises(AlreadyRegistered, match="on the host a") as raised:
        b.register("leader", everywhere=True)
    assert (raised.value.entry.process_id, raised.value.entry.host) == (first.process_id, "a")
    with pytest.raises(AlreadyRegistered):
        a.register("leader", everywhere=True)
    plain = b.register("leader")
    assert plain.fencing_token == 0
    assert plain.valid


def test_each_later_holder_has_a_larger_token(two: tuple[Registry, Registry]) -> None:
    """Also across hosts, and after a death, which frees the name as the kernel reports it."""
    a, b = two
    tokens = []
    for registry in (a, b, a, b):
        with _when_free(registry, "leader") as held:
            tokens.append(held.fencing_token)
    with subprocess.Popen(["sleep", "60"]) as child:
        tokens.append(_when_free(a, "leader", child).fencing_token)
        waiting = b.stand_by("leader", everywhere=True)
        assert not waiting.done()
        child.kill()
    tokens.append(waiting.result(WITHIN).fencing_token)
    assert tokens == sorted(set(tokens))


def test_a_standby_that_is_canceled_gets_nothing(two: tuple[Registry, Registry]) -> None:
    """A cancelled standby for a name of the whole cluster is not granted it when the name is free."""
    a, b = two
    held = a.register("leader", everywhere=True)
    waiting = b.stand_by("leader", everywhere=True)
    assert waiting.cancel()
    held.unregister()
    again = _when_free(a, "leader")
    assert again.valid
    assert b.lookup("leader") is None


def test_a_holder_whose_host_was_cut_off_is_not_valid(cluster: Hosts, two: tuple[Registry, Registry]) -> None:
    """Its bridge is stopped for longer than the lease: the holder knows by its own clock, another host gets the name
    under a larger token, and the old entry ends when the bridge is back."""
    a, b = two
    old = b.register("leader", everywhere=True)
    eventually(lambda: a.lookup(old.process_id), WITHIN)
    cluster.signal_bridge("b", signal.SIGSTOP)
    eventually(lambda: not old.valid, WITHIN)
    new = _when_free(a, "leader")
    assert new.fencing_token > old.entry.fencing_token
    cluster.signal_bridge("b", signal.SIGCONT)
    eventually(lambda: b.lookup("leader") is None, WITHIN)
    assert b.departures(limit=1)[0].how == "name_lost"
    eventually(lambda: "name_lost" in [one.how for one in a.departures() if one.entry.host == "b"], WITHIN)
    assert new.valid
    assert not old.valid


def _when_free(registry: Registry, name: str, process: Any = None) -> adsum.Registration:
    """Register a name that another holder has just given back: the cluster knows a moment later."""

    def attempt() -> adsum.Registration | None:
        try:
            return registry.register(name, process, everywhere=True)
        except AlreadyRegistered:
            return None

    held = eventually(attempt, WITHIN)
    assert held is not None
    return held


def test_a_bridge_that_is_killed_costs_no_name(cluster: Hosts, two: tuple[Registry, Registry]) -> None:
    """The next one goes on with the lease: the token is the same, and no other host gets the name."""
    a, b = two
    held = a.register("leader", everywhere=True)
    token = held.fencing_token
    before = cluster.signal_bridge("a", signal.SIGKILL)
    eventually(lambda: cluster.bridge("a") != before, WITHIN)
    later = a.register("later", everywhere=True)
    eventually(lambda: held.valid and later.valid, WITHIN)
    assert held.fencing_token == token
    with pytest.raises(AlreadyRegistered):
        b.register("leader", everywhere=True)


def test_without_a_cluster_a_name_for_it_is_refused(registry: Registry) -> None:
    """In a registry that is part of no cluster, ``everywhere=True`` raises `ClusterUnavailable` with advice."""
    registry.register("anchor")
    for ask in (
        lambda: registry.register("leader", everywhere=True),
        lambda: registry.stand_by("leader", everywhere=True),
        lambda: registry.claim("anchor", everywhere=True),
    ):
        with pytest.raises(ClusterUnavailable, match="cluster="):
            ask()


def test_a_thread_cannot_hold_a_name(two: tuple[Registry, Registry]) -> None:
    """Only a process can register a name for the whole cluster."""
    import threading

    with pytest.raises(TypeError, match="a process"):
        two[0].register("leader", threading.current_thread(), everywhere=True)


def test_a_slot_is_claimed_once_on_all_hosts(two: tuple[Registry, Registry]) -> None:
    """Two slots of a member of one host, claimed from both; a third claim waits, and gets the one that is released."""
    a, b = two
    a.register("gpu", capabilities={"gpu"}, slots=2).published()
    b.catch_up()
    with a.claim(capability="gpu", everywhere=True, timeout=10) as one:
        two_ = b.claim(capability="gpu", everywhere=True, timeout=10)
        assert (one.entry.reach, two_.entry.reach) == (Reach.here, Reach.remote)
        assert one.fencing_token != two_.fencing_token
        assert one.valid
        assert two_.valid
        for registry in two:
            with pytest.raises(Timeout, match="whole cluster"):
                registry.claim(capability="gpu", everywhere=True, timeout=0.3)
    three = b.claim("gpu" if b.node == "a" else ("default", "a", "gpu"), everywhere=True, timeout=10)
    assert three.fencing_token > two_.fencing_token
    assert three.release()
    assert not three.valid
    two_.release()


def test_a_claim_ends_with_the_claimer_and_is_void_without_the_member(two: tuple[Registry, Registry]) -> None:
    """The claimer's death frees the slot for a larger token, and a claim of a member that has ended is not valid."""
    a, b = two
    member = a.register("printer")
    member.published()
    b.catch_up()
    id = member.process_id
    with subprocess.Popen(["sleep", "60"]) as child:
        claim = b.claim(id, child, everywhere=True, timeout=10)
        assert claim.valid
        child.kill()
    mine = a.claim(id, everywhere=True, timeout=10)
    assert mine.fencing_token > claim.number
    member.unregister()
    assert not mine.valid


async def test_the_same_is_awaited(cluster: Hosts) -> None:
    """`AsyncRegistry` has names and claims for the whole cluster, `catch_up` and `published`."""
    a = await asyncio.to_thread(cluster.open, "a")
    async with adsum.open_async(path=a.folder, node="a", timeout=10) as registry:
        held = await registry.register("leader", everywhere=True, slots=1)
        await held.published(timeout=10)
        assert await registry.catch_up(timeout=10) > 0
        assert (held.fencing_token > 0, held.valid, held.entry.pid) == (True, True, os.getpid())
        with pytest.raises(AlreadyRegistered):
            await registry.register("leader", everywhere=True)
        waiting = asyncio.create_task(registry.stand_by(("default", "a2", "leader"), everywhere=True))
        async with registry.claim("leader", everywhere=True, timeout=10) as claim:
            assert claim.valid
            assert claim.fencing_token > held.fencing_token
        await held.unregister()
        assert (await waiting).valid


def test_the_release_of_a_claim_says_whether_it_held_the_slot(two: tuple[Registry, Registry]) -> None:
    """True once; False after it was released, also where another claim has the slot, and where the member has died,
    was unregistered, or registered anew: as for a claim of one host."""
    a, b = two
    with subprocess.Popen(["sleep", "60"]) as child:
        member = a.register("printer", child)
        held = a.claim("printer", everywhere=True, timeout=10)
        assert held.release()
        assert not held.release()
        with _claimed(a, "printer") as again:
            assert not held.release()
            assert again.valid
        orphaned = _claimed(a, "printer")
        member.published()
        b.catch_up()
        child.kill()
    eventually(lambda: not orphaned.valid, WITHIN)
    assert not orphaned.release()
    for how in ("unregistered", "registered anew"):
        member = a.register("printer")
        claim = a.claim("printer", everywhere=True, timeout=10)
        member.unregister()
        if how == "registered anew":
            member = a.register("printer")
        assert not claim.valid
        assert not claim.release()
        if how == "registered anew":
            member.unregister()


def _claimed(registry: Registry, member: str) -> adsum.Claim:
    """A claim on a slot that was just released: the cluster knows a moment later."""
    return registry.claim(member, everywhere=True, timeout=WITHIN)


def test_a_claim_whose_release_got_no_answer_is_released_later(two: tuple[Registry, Registry]) -> None:
    """The registrar is stopped while the block ends: the slot is free once it goes on."""
    a, b = two
    a.register("printer").published()
    b.catch_up()
    fast = adsum.open(path=a.folder, node="a", timeout=0.2, cluster="")
    claim = fast.claim("printer", everywhere=True, timeout=10)
    with claim:
        pid = a.stats().registrar_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: not claim.valid, WITHIN)
    fast.close()


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
async def test_closing_a_registry_releases_its_claims(awaited: bool, two: tuple[Registry, Registry]) -> None:
    """The claims of this process are released, as claims of one host are; a claim for another process stays."""
    a, _ = two
    a.register("printer", slots=2)
    with subprocess.Popen(["sleep", "60"]) as child:  # noqa: ASYNC220 - nothing else runs in the loop
        if awaited:
            async with adsum.open_async(path=a.folder, node="a", timeout=10, cluster="") as registry:
                mine = await registry.claim("printer", everywhere=True, timeout=WITHIN)
                theirs = await registry.claim("printer", child, everywhere=True, timeout=WITHIN)
        else:
            with adsum.open(path=a.folder, node="a", timeout=10, cluster="") as opened:
                held = opened.claim("printer", everywhere=True, timeout=WITHIN)
                mine, theirs = held, opened.claim("printer", child, everywhere=True, timeout=WITHIN)  # type: ignore[assignment]
        with _claimed(a, "printer") as again:
            assert again.fencing_token > max(mine.number, theirs.number)
            with pytest.raises(Timeout):
                a.claim("printer", everywhere=True, timeout=0.3)
        child.kill()


def test_closing_a_registry_leaves_a_later_claim_on_the_slot(two: tuple[Registry, Registry]) -> None:
    """Of the same process, made by another registry object after the entry of the first claim was removed elsewhere."""
    a, _ = two
    a.register("printer")
    with adsum.open(path=a.folder, node="a", timeout=10, cluster="") as opened:
        held = opened.claim("printer", everywhere=True, timeout=WITHIN)
        assert isinstance(held, ClusterClaim)
        a.unregister(held._registration.process_id)
        later = _claimed(a, "printer")
    assert later.valid
    assert later.release()


async def test_the_release_of_an_awaited_claim_says_whether_it_held_the_slot(cluster: Hosts) -> None:
    """The first release of a claim returns True; a second one, and one after the member's end, return False."""
    a = await asyncio.to_thread(cluster.open, "a")
    async with adsum.open_async(path=a.folder, node="a", timeout=10) as registry:
        member = await registry.register("printer")
        claim = await registry.claim("printer", everywhere=True, timeout=10)
        await member.unregister()
        assert not await claim.release()
        await registry.register("printer")
        claim = await registry.claim("printer", everywhere=True, timeout=10)
        assert await claim.release()
        assert not await claim.release()


async def test_an_awaited_hand_over_has_a_larger_token_and_a_name_can_be_replaced(cluster: Hosts) -> None:
    """As those of `Registry`."""
    a = await asyncio.to_thread(cluster.open, "a")
    async with adsum.open_async(path=a.folder, node="a", timeout=10) as registry:
        held = await registry.register("leader", everywhere=True)
        with pytest.raises(AlreadyRegistered, match="replace=True"):
            await registry.register("leader", replace=True)
        again = await registry.register("leader", everywhere=True, replace=True)
        assert (again.valid, held.valid, again.fencing_token) == (True, False, held.entry.fencing_token)
        with pytest.raises(ValueError, match="owned_by="):
            await registry.register("owned", everywhere=True, owned_by="leader")
        child = await asyncio.create_subprocess_exec("sleep", "60")
        entry = await again.hand_over(child)
        assert (entry.pid, entry.fencing_token > again.entry.fencing_token) == (child.pid, True)
        child.kill()
        await child.wait()
