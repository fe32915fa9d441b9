"""What other hosts see while bridges, registrars and whole hosts end, stop and come back."""

from __future__ import annotations

import signal
import threading
import time

import pytest

import adsum
from adsum import Event, Kind, Reach
from adsum._etcd.address import parse
from adsum._watching import Watch
from tests.support.etcd import EtcdCluster
from tests.support.registrars import kill_registrar, remove_folder, stopped
from tests.support.waiting import eventually

from .host_processes import SOON, TTL, Hosts

# What a machine that is busy with other tests may add to a bound.
BUSY = 10.0


def revoke_lease_of(etcd: EtcdCluster, address: str, host: str) -> None:
    """End the lease of a host, as an etcd does by mistake."""
    said = etcd.control("get", f"/adsum/{parse(address).name}/h/{host}", "-w", "fields")
    number = next(line.split(":")[1] for line in said.splitlines() if '"Lease"' in line)
    etcd.control("lease", "revoke", f"{int(number):x}")


def revisions_of_entries(etcd: EtcdCluster, address: str, host: str) -> list[str]:
    """When each entry of a host was written last."""
    said = etcd.control("get", "--prefix", f"/adsum/{parse(address).name}/e/{host}/", "-w", "fields")
    return [line for line in said.splitlines() if '"ModRevision"' in line]


def of_hosts(watch: Watch, until: Kind) -> list[tuple[Kind, str]]:
    """The events of hosts, up to the first of this kind."""
    found: list[tuple[Kind, str]] = []
    while not found or found[-1][0] is not until:
        event = watch.next(SOON)
        if event.host:
            found.append((event.kind, event.host))
    return found


def events_now(watch: Watch) -> list[Event]:
    """The events that have happened already."""
    found = []
    while True:
        try:
            found.append(watch.next(0))
        except adsum.Timeout:
            return found


def test_a_new_bridge_goes_on_unnoticed(hosts: Hosts) -> None:
    """A bridge is killed, and the next one goes on with its lease: it writes no entry, and no other host has an event,
    or a moment without the members."""
    a, b = hosts.add("a"), hosts.add("b")
    for number in range(50):
        a.registry.register(f"w{number}")
    b.copies(a)
    missed: list[object] = []
    ends = threading.Event()

    def look() -> None:
        while not ends.is_set():
            if b.registry.lookup(a.id("w7")) is None:
                missed.append(time.monotonic())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with b.registry.watch() as watch:
            for _ in range(2):
                a.bridge.kill()
                a.bridge.start()
                assert a.bridge.wait_until_publishing().writes == 0
            a.registry.register("marker")
            b.sees(a, "marker")
            assert [(event.kind, event.host) for event in events_now(watch)] == [(Kind.registered, "")]
    finally:
        ends.set()
        looking.join()
    assert not missed


def test_a_lease_that_is_lost_by_mistake_costs_moments_and_no_rewriting(hosts: Hosts, etcd: EtcdCluster) -> None:
    """etcd revokes the lease of a host that is well: others have the events unreachable, returned and whole, once for
    the host; no member is said to have died, and no entry is written again."""
    a, b = hosts.add("a"), hosts.add("b")
    for number in range(50):
        a.registry.register(f"w{number}").published(SOON)
    b.copies(a)
    before = revisions_of_entries(etcd, hosts.address, "a")
    with b.registry.watch() as watch:
        for _ in range(3):
            revoke_lease_of(etcd, hosts.address, "a")
            assert of_hosts(watch, Kind.whole) == [(Kind.unreachable, "a"), (Kind.returned, "a"), (Kind.whole, "a")]
            b.copies(a)
        assert events_now(watch) == []
    assert revisions_of_entries(etcd, hosts.address, "a") == before
    assert b.registry.departures() == []


def test_a_bridge_that_is_stopped_makes_its_host_unreachable_and_others_for_it(hosts: Hosts) -> None:
    """Others have the event within the TTL and a moment; the readers at the host take all others for unreachable. When
    it goes on, the departures say how members ended meanwhile, and no reader sees again what is gone."""
    a, b = hosts.add("a"), hosts.add("b")
    with a.agent() as worker, b.agent() as away:
        worker.do("registry.register('w')")
        away.do("registry.register('away')")
        a.registry.register("stays")
        b.sees(a, "w")
        a.sees(b, "away")
        with b.registry.watch() as watch:
            began = time.monotonic()
            a.bridge.stop()
            assert of_hosts(watch, Kind.unreachable) == [(Kind.unreachable, "a")]
            assert time.monotonic() - began < TTL + 1.5 + BUSY
            assert b.registry.lookup(a.id("w")) is None
            entry = b.registry.lookup(a.id("w"), unreachable=True)
            assert entry is not None
            assert entry.reach is Reach.unreachable
            a.misses(b, "away")
            assert a.registry.count(hosts="here") == 2
            worker.kill()
            away.kill()
            eventually(lambda: b.registry.lookup(b.id("away")) is None, SOON)
            a.bridge.resume()
            seen_again = []
            while watch.revision < 0 or not _is_told(watch, Kind.whole):
                seen_again += [a.registry.lookup(b.id("away"))]
            assert set(seen_again) <= {None}
        b.sees(a, "stays")
        departure = next(one for one in b.registry.departures() if one.entry.process_id == a.id("w"))
        assert departure.how == "died"
        a.misses(b, "away")


def _is_told(watch: Watch, kind: Kind) -> bool:
    return any(event.kind is kind for event in events_now(watch))


def test_of_two_hosts_with_one_name_the_second_is_refused(hosts: Hosts) -> None:
    """It says so, and goes on as a registry of its own; the first is not disturbed. It gets the name when the first has
    left."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("w")
    b.sees(a, "w")
    with b.registry.watch() as watch:
        second = hosts.add("a", folder="second", starts=False)
        second.bridge.start()
        eventually(
            lambda: (said := second.bridge.status()) and "'a' is held by another host or registry" in said.trouble, SOON
        )
        second.registry.register("mine")
        assert second.registry.lookup("mine") is not None
        assert events_now(watch) == []
        assert b.registry.lookup(a.id("mine")) is None
        a.bridge.end(signal.SIGUSR1)
        second.bridge.wait_until_publishing()
        b.sees(second, "mine")
        b.misses(a, "w")
        assert [one.how for one in b.registry.departures()] == ["left"]


def test_registrars_that_are_killed_under_their_bridges_lose_nothing(hosts: Hosts) -> None:
    """On either side: the next registrar goes on, and the mirror is what the host has."""
    a, b = hosts.add("a"), hosts.add("b")
    for number in range(30):
        a.registry.register(f"w{number}")
        if number % 10 == 5:
            kill_registrar(a.folder)
        if number % 10 == 8:
            kill_registrar(b.folder)
    a.registry.unregister("w3")
    b.copies(a)
    assert b.registry.audit() == []


def test_a_registry_that_is_made_anew_is_published_anew(hosts: Hosts) -> None:
    """The folder of a host is removed while members live: they register again, and others have what is there now. What
    it had of others comes back too."""
    a, b = hosts.add("a", starts=False), hosts.add("b")
    b.registry.register("other")
    with a.keeping_agent() as first, a.keeping_agent() as second:
        first.do("registry.register('stays')")
        second.do("registry.register('goes')")
        a.bridge.wait_until_publishing()
        b.sees(a, "stays")
        a.sees(b, "other")
        before = b.sees(a, "goes").origin
        second.do("registry.close()")
        remove_folder(a.folder)
        eventually(lambda: a.registry.lookup("stays"), SOON)
        after = eventually(lambda: b.registry.lookup(a.id("stays")), SOON)
        assert after is not None
        assert before is not None
        eventually(
            lambda: (e := b.registry.lookup(a.id("stays"))) and e.origin and e.origin.epoch != before.epoch, SOON
        )
        b.misses(a, "goes")
        a.sees(b, "other")
        b.copies(a)
        assert [one.how for one in b.registry.departures() if one.entry.process_id.local_id == "goes"] == ["unknown"]
    assert b.registry.audit() == []


def test_a_slow_registrar_makes_others_unreachable_and_not_old(hosts: Hosts) -> None:
    """While a registrar is stopped, what other hosts say cannot come in: its readers do not take the old for the
    present. Afterwards they have it all."""
    a, b = hosts.add("a"), hosts.add("b")
    for number in range(20):
        a.registry.register(f"w{number}")
    b.copies(a)
    with stopped(b.folder):
        for number in range(20):
            a.registry.update(f"w{number}", endpoint="tcp://new")
        b.misses(a, "w0", TTL + SOON)
    b.copies(a)
    assert all(entry.endpoint == "tcp://new" for entry in b.registry.find(node="a"))


def test_a_host_whose_registrar_is_stopped_is_unreachable(hosts: Hosts) -> None:
    """It would not report a death, so no other host finds its members until it goes on. Then the dead one is gone, and
    those that live are found again; a holder of a name is not valid meanwhile."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("worker")
    # Without a member the bridge there would end after a while.
    b.registry.register("other")
    holder = a.registry.register("holder", everywhere=True, timeout=SOON)
    with a.agent() as agent:
        agent.do("registry.register('dies')")
        b.sees(a, "dies")
        eventually(lambda: holder.valid, SOON)
        with stopped(a.folder):
            agent.kill()
            b.misses(a, "dies")
            assert b.registry.lookup(a.id("dies"), unreachable=True) is not None
            assert not holder.valid
            eventually(lambda: (said := a.bridge.status()) and "registrar" in said.trouble and not said.fence, SOON)
    b.sees(a, "worker")
    b.copies(a)
    assert [one.how for one in b.registry.departures()] == ["died"]
    eventually(lambda: holder.valid, SOON)


def test_a_registrar_that_starts_anew_costs_no_lease(hosts: Hosts) -> None:
    """Its bridge asks it all the time, and has patience: other hosts notice nothing."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("worker")
    b.sees(a, "worker")
    fence = a.bridge.wait_until_publishing().fence
    with b.registry.watch() as watch:
        for number in range(3):
            kill_registrar(a.folder)
            a.registry.register(f"w{number}").published(SOON)
            with stopped(a.folder):
                # Busy for a part of the time to live.
                time.sleep(TTL / 3)
        a.registry.register("after").published(SOON)
        b.sees(a, "after")
        assert [event for event in events_now(watch) if event.host] == []
    assert a.bridge.wait_until_publishing().fence == fence


def test_a_published_change_is_found_after_catching_up(hosts: Hosts) -> None:
    """`published` at one host, then `catch_up` at another: the change is in every read from then on."""
    a, b = hosts.add("a"), hosts.add("b")
    registration = a.registry.register("w", custom={"n": 0})
    for number in range(30):
        if number == 10:
            a.bridge.kill()
            a.bridge.start()
        if number == 20:
            b.bridge.kill()
            b.bridge.start()
        registration.update(custom={"n": number})
        if number % 3:
            other = a.registry.register(f"x{number}")
            other.published(SOON)
        registration.published(SOON)
        b.registry.catch_up(SOON)
        entry = b.registry.lookup(a.id("w"))
        assert entry is not None, number
        assert entry.custom == {"n": number}


def test_a_change_that_is_not_published_is_waited_for(hosts: Hosts, etcd: EtcdCluster) -> None:
    """Also when the bridge that knew of it was killed before it wrote it, and the next one has only begun."""
    a = hosts.add("a")
    registration = a.registry.register("w")
    registration.published(SOON)
    a.bridge.kill()
    registration.update(endpoint="tcp://new")
    etcd.members[0].stop()
    try:
        a.bridge.start()
        with pytest.raises((adsum.Timeout, adsum.ClusterUnavailable)):
            registration.published(2.0)
    finally:
        etcd.members[0].resume()
    registration.published(SOON)
    found = etcd.control("get", "--prefix", f"/adsum/{parse(hosts.address).name}/e/a/", "-w", "json")
    import base64
    import json

    (item,) = json.loads(found)["kvs"]
    assert b"tcp://new" in base64.b64decode(item["value"])
