"""Names for the whole cluster while holders, clients, bridges and etcd are killed and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from pathlib import Path

import pytest

import adsum
from adsum import AlreadyRegistered, ClusterUnavailable, ProcessId, Registry, Timeout, admin_cluster
from adsum._etcd.address import parse
from tests.support.children import Agent, _packed
from tests.support.etcd import EtcdCluster
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts

REGISTERS = "held = registry.register('leader', everywhere=True, timeout=20)"


def register_when_free(registry: Registry, name: str = "leader") -> adsum.Registration:
    """Register a name as soon as the cluster knows that it is free."""

    def attempt() -> adsum.Registration | None:
        try:
            return registry.register(name, everywhere=True)
        except (AlreadyRegistered, Timeout, ClusterUnavailable):
            return None

    held = eventually(attempt, SOON, every=0.02)
    assert held is not None
    return held


def names_held(etcd: EtcdCluster, address: str) -> int:
    """How many names are held, as etcd has it."""
    said = etcd.control("get", "--prefix", "--keys-only", f"/adsum/{parse(address).name}/n/")
    return len(list(filter(None, said.split("\n"))))


def test_a_name_that_is_taken_at_once_has_a_new_token(hosts: Hosts) -> None:
    """A holder is killed, and a process of the same host asks for the name before etcd knows of the death: it gets the
    name under a larger token, and no other host gets it too."""
    a, b = hosts.add("a"), hosts.add("b")
    with a.agent() as second:
        tokens = []
        for _ in range(10):
            with a.agent() as first:
                first.do(REGISTERS)
                tokens.append(first.value("held.fencing_token"))
                first.kill()
                second.do(f"while registry.lookup('leader') is not None: pass\n{REGISTERS}")
                tokens.append(second.value("held.fencing_token"))
                with pytest.raises(AlreadyRegistered):
                    b.registry.register("leader", everywhere=True)
                assert second.value("held.valid")
                second.do("held.unregister()")
                register_when_free(b.registry).unregister()
                register_when_free(a.registry).unregister()
    assert tokens == sorted(set(tokens)), "each later holder has a larger token"


@pytest.mark.parametrize("call", ["register('first', everywhere=True)", "claim('member', everywhere=True)"])
def test_the_first_call_of_a_program_waits_for_its_cluster(call: str, etcd: EtcdCluster, hosts: Hosts) -> None:
    """Neither the registry nor its bridge is there when a program asks: both start, and the call is carried out."""
    host = hosts.add("first", starts=False)
    with host.keeping_agent() as program:
        if "claim" in call:
            program.do("registry.register('member', slots=1)")
        program.do(f"held = registry.{call}")
        assert program.value("held.fencing_token") > 0
        assert program.value("held.valid")


def test_a_client_that_is_killed_while_it_asks_leaves_the_name_free(hosts: Hosts, etcd: EtcdCluster) -> None:
    """Between the request and the grant, at any moment: no name is held without a holder."""
    a, b = hosts.add("a"), hosts.add("b")
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for attempt in range(8):
        with a.agent() as client:
            client.do("registry.lookup('leader')")
            client.say(_unanswered(REGISTERS))
            if attempt % 4 == 3:
                etcd.members[0].stop()
            time.sleep(rng.uniform(0.0, 0.02))
            client.kill()
            etcd.members[0].resume()
    register_when_free(b.registry)
    assert names_held(etcd, hosts.address) == 1


def _unanswered(statements: str) -> str:
    """The line that has an `Agent` run statements, whose answer is not waited for."""
    return f"exec {_packed(statements)}"


def test_bridges_that_are_killed_while_they_are_asked_answer_later(hosts: Hosts) -> None:
    """Each request is granted or refused once, whichever bridge it was that heard of it."""
    a, b = hosts.add("a"), hosts.add("b")
    names = [f"name-{number}" for number in range(40)]
    futures = {}
    for number, name in enumerate(names):
        # On a busy machine the next bridge may take longer than the cluster counts as heard.
        eventually(lambda: a.registry._reader.progress.hears(), SOON)
        futures[name] = [host.registry.stand_by(name, everywhere=True) for host in (a, b)]
        if number in (10, 25):
            a.bridge.kill()
            a.bridge.start()
    for name in names:
        waiting = futures[name]
        eventually(lambda waiting=waiting: any(future.done() for future in waiting), SOON)  # type: ignore[misc]
        assert sum(future.done() for future in waiting) == 1, "a name has one holder"
    for name in names:
        done = next(future for future in futures[name] if future.done())
        done.result().unregister()
    for name in names:
        for future in futures[name]:
            future.result(SOON)


def test_a_name_lost_with_the_lease_is_claimed_again(hosts: Hosts, etcd: EtcdCluster) -> None:
    """etcd revokes the lease by mistake: the holder is not valid until it has the name again, under a larger token; or
    another host was first, and the entry ends."""
    a, b = hosts.add("a"), hosts.add("b")
    held, other = a.registry.register("leader", everywhere=True), a.registry.register("other", everywhere=True)
    before = held.fencing_token, other.fencing_token
    a.bridge.stop()
    revoke_lease_of(etcd, hosts.address, "a")
    taken = register_when_free(b.registry)
    a.bridge.resume()
    eventually(lambda: a.registry.lookup("leader") is None, SOON)
    assert a.registry.departures(limit=1)[0].how == "name_lost"
    assert not held.valid
    eventually(lambda: other.fencing_token > before[1] and other.valid, SOON)
    assert taken.valid
    assert taken.fencing_token > before[0]


def revoke_lease_of(etcd: EtcdCluster, address: str, host: str) -> None:
    """End the lease of a host, as an etcd does by mistake."""
    key = f"/adsum/{parse(address).name}/h/{host}"
    lease = etcd.control("get", key, "-w", "fields")
    number = next(line.split(":")[1] for line in lease.splitlines() if '"Lease"' in line)
    etcd.control("lease", "revoke", f"{int(number):x}")


def test_without_etcd_a_name_is_unavailable_and_never_doubled(tmp_path: Path) -> None:
    """Asked without a majority, it fails and says so; the request leaves nothing behind when etcd is back."""
    with EtcdCluster(tmp_path) as etcd, Hosts(etcd.address("prod")) as hosts:
        a, b = hosts.add("a"), hosts.add("b")
        etcd.members[0].kill()
        with pytest.raises((ClusterUnavailable, Timeout)):
            a.registry.register("leader", everywhere=True, timeout=4)
        waiting = None
        with contextlib.suppress(ClusterUnavailable):
            # The other host may be heard for as long as the TTL.
            waiting = b.registry.stand_by("leader", everywhere=True)
        etcd.members[0].start()
        if waiting is not None:
            assert waiting.result(SOON).fencing_token
        else:
            register_when_free(b.registry)


def test_a_name_of_a_process_with_a_handed_over_id_goes_along(hosts: Hosts) -> None:
    """The id is never free on the way, for no host."""
    a, b = hosts.add("a"), hosts.add("b")
    with a.agent() as first, a.agent() as second:
        first.do(REGISTERS)
        first.do(f"held.hand_over({second.pid})")
        first.kill()
        with pytest.raises(AlreadyRegistered):
            b.registry.register("leader", everywhere=True)
        second.kill()
        register_when_free(b.registry)


def held_at(host: Host, name: str = "leader") -> adsum.Registration:
    """The registration of whichever process of a host holds a name."""
    return adsum.Registration(host.registry._calls, host.registry[name])


def hand_over_at_once(held: adsum.Registration, agent: Agent) -> None:
    """Hand a name over, and do not wait for its new token."""
    held._calls.wait(held._calls.hand_over(held.entry, agent.process), SOON)


def test_each_hand_over_has_a_larger_token(hosts: Hosts) -> None:
    """The call returns the new holder's entry with a token of its own, larger than that of the holder before; and one
    that another host has afterwards is larger still. At no moment does the other host get the name."""
    a, b = hosts.add("a"), hosts.add("b")
    tokens = [a.registry.register("leader", everywhere=True).fencing_token]
    with a.agent() as first, a.agent() as second:
        holder = held_at(a)
        for _ in range(5):
            for agent in (first, second):
                entry = holder.hand_over(agent.process)
                assert (entry.pid, entry.fencing_token > tokens[-1]) == (agent.pid, True)
                assert a.registry["leader"] == entry
                tokens.append(entry.fencing_token)
                holder = held_at(a)
                assert holder.valid
                with pytest.raises(AlreadyRegistered, match="on the host a"):
                    b.registry.register("leader", everywhere=True)
    tokens.append(register_when_free(b.registry).fencing_token)
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("meanwhile", ["killed", "lost its lease"])
def test_a_name_that_is_handed_over_without_its_bridge_is_not_valid_until_it_has_a_token(
    hosts: Hosts, etcd: EtcdCluster, meanwhile: str
) -> None:
    """The hand-over is done in this registry, also twice, while the bridge is away; the token comes with the next one.
    Nothing may be written with what is there before: it is below 0, which every resource refuses."""
    a, b = hosts.add("a"), hosts.add("b")
    held = a.registry.register("leader", everywhere=True)
    token = held.fencing_token
    with a.agent() as first, a.agent() as second:
        a.bridge.stop()
        entry = held.hand_over(first.process, timeout=1)
        assert entry.fencing_token < 0
        holder = held_at(a)
        assert not holder.valid
        assert holder.hand_over(second.process, timeout=1).fencing_token < 0
        holder = held_at(a)
        if meanwhile == "killed":
            a.bridge.kill()
            a.bridge.start()
        else:
            revoke_lease_of(etcd, hosts.address, "a")
            a.bridge.resume()
        eventually(lambda: holder.valid, SOON)
        assert holder.fencing_token > token
        with pytest.raises(AlreadyRegistered, match="on the host a"):
            b.registry.register("leader", everywhere=True)
        second.kill()
        register_when_free(b.registry)


def test_holders_that_hand_over_and_die_at_any_moment_leave_one_name_or_none(hosts: Hosts, etcd: EtcdCluster) -> None:
    """New holders are killed while their token is being renewed, and bridges too: afterwards the name is free."""
    a, b = hosts.add("a"), hosts.add("b")
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for attempt in range(8):
        held = register_when_free(a.registry)
        with a.agent() as first, a.agent() as second:
            hand_over_at_once(held, first)
            if rng.random() < 0.5:
                time.sleep(rng.uniform(0.0, 0.01))
                hand_over_at_once(held_at(a), second)
            time.sleep(rng.uniform(0.0, 0.01))
            if attempt % 4 == 3:
                a.bridge.kill()
            first.kill()
            second.kill()
        if attempt % 4 == 3:
            a.bridge.start()
        register_when_free(b.registry).unregister()
    eventually(lambda: names_held(etcd, hosts.address) == 0, SOON)


REPLACES = "held = registry.register('leader', everywhere=True, replace=True, timeout=20, custom={'n': 2})"


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_process_replaces_its_own_registration_by_a_name_of_the_cluster(hosts: Hosts, everywhere: bool) -> None:
    """A name of the cluster keeps its token, and is free for no host on the way; one of this host becomes one."""
    a, b = hosts.add("a"), hosts.add("b")
    before = a.registry.register("leader", everywhere=everywhere, capabilities={"old"})
    token = before.fencing_token
    again = a.registry.register("leader", everywhere=True, replace=True, custom={"n": 2})
    assert again.valid
    assert not before.valid
    assert (again.entry.custom, again.entry.metadata.capabilities) == ({"n": 2}, frozenset())
    assert again.entry.incarnation > before.entry.incarnation
    assert again.fencing_token == token if everywhere else again.fencing_token > 0
    for _ in range(3):
        with pytest.raises(AlreadyRegistered, match="on the host a"):
            b.registry.register("leader", everywhere=True)
    a.bridge.kill()
    a.bridge.start()
    eventually(lambda: again.valid, SOON)
    again.unregister()
    register_when_free(b.registry)


def test_a_name_of_another_process_is_not_replaced(hosts: Hosts) -> None:
    """`replace=True` takes no name for the whole cluster from another process."""
    a = hosts.add("a")
    with a.agent() as agent:
        agent.do(REGISTERS)
        with pytest.raises(AlreadyRegistered, match="in the whole cluster by process"):
            a.registry.register("leader", everywhere=True, replace=True)
        assert agent.value("held.valid")


def test_a_name_of_the_cluster_is_not_given_up_by_a_registration_without_it(hosts: Hosts) -> None:
    """Neither by `register` nor by `register_nowait`; the error says what to do."""
    a = hosts.add("a")
    held = a.registry.register("leader", everywhere=True)
    for register in (a.registry.register, lambda *_, **named: a.registry.register_nowait("leader", **named).result()):
        with pytest.raises(AlreadyRegistered, match=r"everywhere=True, replace=True.*unregister\(\) it first"):
            register("leader", replace=True)
    assert held.valid


def test_the_refusal_of_a_name_says_how_the_holder_has_it(hosts: Hosts) -> None:
    """A holder in the same registry may have it on this host alone."""
    a = hosts.add("a")
    a.registry.register("plain")
    with pytest.raises(AlreadyRegistered, match=r"on this host alone before.*replace=True") as raised:
        a.registry.register("plain", everywhere=True)
    assert "holds the name" not in str(raised.value)
    a.registry.register("whole", everywhere=True)
    with pytest.raises(AlreadyRegistered, match=r"in the whole cluster before.*replace=True"):
        a.registry.register("whole", everywhere=True)
    with a.agent() as agent:
        agent.do("registry.register('other')")
        with pytest.raises(AlreadyRegistered, match="without everywhere=True"):
            a.registry.register("other", everywhere=True)
        with pytest.raises(ValueError, match="owned_by= and everywhere=True"):
            a.registry.register("owned", everywhere=True, owned_by="plain")


@pytest.mark.parametrize("ends", ["by a signal", "by the command", "killed before the command"])
def test_a_host_that_leaves_has_no_valid_holder_of_a_name(hosts: Hosts, ends: str) -> None:
    """It gives its names up long before its time to live is over, so no holder relies on that."""
    a, b = hosts.add("a", ttl=60.0), hosts.add("b")
    held = a.registry.register("leader", everywhere=True)
    b.sees(a, "leader")
    taken = b.registry.stand_by("leader", everywhere=True)
    eventually(lambda: held.valid, SOON)
    if ends == "by a signal":
        a.bridge.end(signal.SIGINT)
    else:
        if ends == "killed before the command":
            a.bridge.kill()
        assert admin_cluster.leave(a.folder)
    successor = taken.result(SOON)
    assert not held.valid
    assert successor.valid
    assert successor.fencing_token > held.fencing_token


def test_a_claim_everywhere_says_that_the_cluster_is_away(tmp_path: Path) -> None:
    """A claim that only tries is over soon. Afterwards members of other hosts cannot be seen, which is no end of
    them."""
    with EtcdCluster(tmp_path) as etcd, Hosts(etcd.address("prod"), ttl=60.0) as hosts:
        a, b = hosts.add("a"), hosts.add("b", ttl=3.0)
        a.registry.register("printer")
        b.sees(a, "printer")
        etcd.members[0].stop()
        began = time.monotonic()
        with pytest.raises((Timeout, ClusterUnavailable)):
            b.registry.claim(a.id("printer"), everywhere=True, timeout=0)
        assert time.monotonic() - began < 2.5
        b.misses(a, "printer")
        with pytest.raises(ClusterUnavailable):
            b.registry.claim(a.id("printer"), everywhere=True, timeout=0)
        with pytest.raises(ClusterUnavailable):
            asyncio.run(claimed_in_a_loop(b, a.id("printer")))
        etcd.members[0].resume()


async def claimed_in_a_loop(host: Host, id: ProcessId) -> None:
    async with adsum.open_async(path=host.folder, node=host.name, cluster="") as registry:
        await registry.claim(id, everywhere=True, timeout=0)


def test_a_claim_of_a_member_waits_for_its_host(hosts: Hosts) -> None:
    """While its host cannot be reached, a member is neither gone nor claimed; once it is back, the claim has it."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("printer")
    b.sees(a, "printer")
    a.bridge.stop()
    b.misses(a, "printer")
    with pytest.raises(Timeout):
        b.registry.claim(a.id("printer"), everywhere=True, timeout=0)
    comes_back = threading.Timer(0.5, a.bridge.resume)
    comes_back.start()
    with b.registry.claim(a.id("printer"), everywhere=True, timeout=SOON) as claim:
        assert claim.valid
    comes_back.join()


def test_the_first_claim_of_a_program_waits_for_its_cluster(hosts: Hosts) -> None:
    """The member that it names is of another host, of which nothing has come in yet."""
    a, b = hosts.add("a"), hosts.add("b", starts=False)
    a.registry.register("printer").published(SOON)
    starts = threading.Timer(0.5, b.bridge.start)
    starts.start()
    with b.registry.claim(a.id("printer"), everywhere=True, timeout=SOON) as claim:
        assert claim.valid
    starts.join()
