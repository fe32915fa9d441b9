"""Names for the whole cluster while holders, clients, bridges and etcd are killed and stopped."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import adsum
from adsum import AlreadyRegistered, ClusterUnavailable, Registry, Timeout
from adsum._etcd.address import parse
from tests.support.children import _packed
from tests.support.etcd import EtcdCluster
from tests.support.waiting import eventually

from .host_processes import SOON, Hosts

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
        waiting = b.registry.stand_by("leader", everywhere=True) if b.registry.stats().cluster else None
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
