"""A bridge that hears nothing: all other hosts are unreachable for the readers here, and watches report it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Event, Kind, ProcessId, Reach, Registry
from adsum._watching import Watch
from tests.support.etcd import EtcdCluster
from tests.support.registrars import kill_registrar

from .bridging import HOST, Bridge, remote
from .host_processes import SOON, Hosts

ID = ProcessId("default", HOST, "worker")
LONG_AGO = 61.0


@pytest.fixture
def bridge(registry: Registry) -> Bridge:
    registry.register("local")
    return Bridge(registry)


def of_hosts(watch: Watch, number: int) -> list[tuple[str, str]]:
    """So many events of hosts, the next ones."""
    found: list[tuple[str, str]] = []
    while len(found) < number:
        event = watch.next(SOON)
        if event.host:
            found.append((event.kind.value, event.host))
    return found


def no_more(watch: Watch) -> bool:
    """Whether no event of a host has happened that was not taken."""
    while True:
        try:
            event: Event = watch.next(0)
        except adsum.Timeout:
            return True
        assert not event.host, event


def test_a_bridge_that_hears_nothing_makes_each_host_unreachable_once(registry: Registry, bridge: Bridge) -> None:
    """One event for each host when the time is up, and two when the bridge hears again; its members are found before
    the last of them."""
    for host in (HOST, "host-c"):
        bridge.host(host=host)
        bridge.put(remote("worker", host=host), host=host)
    with registry.watch() as watch:
        for _ in range(2):
            bridge.hear(ago=LONG_AGO)
            assert sorted(of_hosts(watch, 2)) == [("unreachable", HOST), ("unreachable", "host-c")]
            assert len(registry) == 1
            bridge.hear()
            found = of_hosts(watch, 4)
            for host in (HOST, "host-c"):
                assert [kind for kind, of in found if of == host] == ["returned", "whole"]
            assert len(registry) == 3
            assert no_more(watch)
    assert registry.audit() == []


def test_what_hosts_do_in_the_silence_is_reported_when_it_ends(registry: Registry, bridge: Bridge) -> None:
    """What the bridge says before it is known to hear is true for readers only then: a host that was lost meanwhile is
    not reported twice, and none returns before readers find its members."""
    for host in (HOST, "lost", "back"):
        bridge.host(host=host)
    bridge.host("unreachable", host="back")
    with registry.watch() as watch:
        bridge.hear(ago=LONG_AGO)
        assert sorted(of_hosts(watch, 2)) == [("unreachable", HOST), ("unreachable", "lost")]
        bridge.fence += 1
        bridge.host("unreachable", host="lost")
        for state in ("returning", "here"):
            bridge.host(state, host="back")
            bridge.host(state, host="new")
        assert no_more(watch)
        bridge.hear()
        found = of_hosts(watch, 5)
        assert [kind for kind, of in found if of == HOST] == ["returned", "whole"]
        assert [kind for kind, of in found if of == "back"] == ["returned", "whole"]
        assert [kind for kind, of in found if of == "new"] == ["whole"], "it is not missed before it was whole"
        bridge.fence += 1
        bridge.host("here", host="lost")
        assert of_hosts(watch, 2) == [("returned", "lost"), ("whole", "lost")]
        assert no_more(watch)


def test_a_silence_is_reported_once_by_all_registrars(registry: Registry, bridge: Bridge) -> None:
    """The next registrar knows what watches know, and reports what happened while none ran."""
    bridge.host()
    with registry.watch() as watch:
        assert of_hosts(watch, 0) == []
        bridge.hear(ago=LONG_AGO)
        assert of_hosts(watch, 1) == [("unreachable", HOST)]
        kill_registrar(registry.folder)
        registry.register("next")
        assert no_more(watch)
        kill_registrar(registry.folder)
        bridge.hear()
        registry.register("last")
        assert of_hosts(watch, 2) == [("returned", HOST), ("whole", HOST)]


def test_a_snapshot_marks_the_members_that_cannot_be_reached(registry: Registry, bridge: Bridge) -> None:
    """At the revision at which the events start, also where that is an earlier one."""
    bridge.host()
    bridge.put(remote("worker"))

    def reach(watch: Watch) -> str:
        return next(entry.reach.value for entry in watch.snapshot if entry.host == HOST)

    with registry.watch() as watch:
        assert reach(watch) == Reach.remote
        here = watch.revision
        bridge.host("unreachable")
        with registry.watch() as later, registry.watch(ID) as one:
            assert reach(later) == reach(one) == Reach.unreachable
            away = later.revision
        bridge.fence += 1
        bridge.host()
        with registry.watch(since=here) as from_here, registry.watch(since=away) as from_away:
            assert (reach(from_here), reach(from_away)) == (Reach.remote, Reach.unreachable)
            assert from_here.next(0).kind is Kind.unreachable


def test_a_member_is_waited_for_until_the_bridge_hears_again(registry: Registry, bridge: Bridge) -> None:
    """`wait_for` and `LiveEntries.wait` end when the silence ends, and when it begins."""
    bridge.host()
    bridge.put(remote("worker"))
    with registry.follow() as team:
        bridge.hear(ago=LONG_AGO)
        assert team.wait(lambda team: ID not in team, SOON)
        with pytest.raises(adsum.Timeout):
            registry.wait_for(ID, 0.2)
        bridge.hear()
        assert team.wait(lambda team: ID in team, SOON)
    assert registry.wait_for(ID, 0).process_id == ID


def test_the_watches_of_a_host_whose_bridge_is_stopped_report_all_others(hosts: Hosts) -> None:
    """The bridge of the reader's own host is stopped for longer than the TTL, and goes on."""
    a, b, c = hosts.add("a"), hosts.add("b"), hosts.add("c")
    for host in (a, c):
        host.registry.register("w")
        b.sees(host, "w")
    with b.registry.watch() as watch:
        b.bridge.stop()
        assert sorted(of_hosts(watch, 2)) == [("unreachable", "a"), ("unreachable", "c")]
        assert b.registry.find(hosts=None) == []
        b.bridge.resume()
        found = of_hosts(watch, 4)
        for name in ("a", "c"):
            assert [kind for kind, of in found if of == name] == ["returned", "whole"]
        assert len(b.registry) == 2
        assert no_more(watch)


def test_the_watches_of_all_hosts_report_an_outage_of_etcd(hosts: Hosts, etcd: EtcdCluster) -> None:
    """etcd is stopped for longer than the TTL: on each host the others are unreachable, and are back when it is. etcd
    may then end the leases that it could not renew, and the hosts are lost and back once more."""
    a, b = hosts.add("a"), hosts.add("b")
    for host, other in ((a, b), (b, a)):
        host.registry.register("w")
        other.sees(host, "w")
    with a.registry.watch() as first, b.registry.watch() as second:
        etcd.members[0].stop()
        try:
            assert of_hosts(first, 1) == [("unreachable", "b")]
            assert of_hosts(second, 1) == [("unreachable", "a")]
        finally:
            etcd.members[0].resume()
        for watch, host, other in ((first, a, b), (second, b, a)):
            assert of_hosts(watch, 2) == [("returned", other.name), ("whole", other.name)]
            other.registry.register("marker")
            host.sees(other, "marker")
            kinds = [event.kind.value for event in until_registered(watch, "marker") if event.host]
            assert kinds == ["unreachable", "returned", "whole"][: len(kinds)]


def until_registered(watch: Watch, name: str) -> Iterator[Event]:
    """The events up to the registration of a member."""
    while True:
        event = watch.next(SOON)
        yield event
        if event.entry is not None and event.entry.process_id.local_id == name:
            return


def test_the_loop_that_the_page_prints_has_what_find_gives(registry: Registry, bridge: Bridge) -> None:
    """The loop over a watch of docs/how-to/watching.md, while hosts are lost and return and the bridge falls silent."""
    page = (Path(__file__).parents[2] / "docs/how-to/watching.md").read_text()
    printed: dict[str, Callable[[Watch], Iterator[dict[ProcessId, adsum.Entry]]]] = {}
    exec(next(block for block in page.split("```python\n") if block.startswith("def follow")).split("```")[0], printed)
    bridge.host()
    bridge.put(remote("worker"))
    bridge.host(host="away")
    bridge.put(remote("worker", host="away"), host="away")
    bridge.host("unreachable", host="away")
    with registry.watch() as watch:
        states = printed["follow"](watch)

        def last(until: Callable[[], object]) -> None:
            """What the loop has after all events, the last of which comes when this is done."""
            until()
            registry.register("marker")
            state = next(one for one in states if ProcessId("default", registry.node, "marker") in one)
            assert set(state) == set(registry)
            registry.unregister("marker")

        last(lambda: registry.register("mine"))
        last(lambda: bridge.host("unreachable"))
        last(lambda: bridge.put(remote("late")))
        bridge.fence += 1
        last(lambda: bridge.host())
        last(lambda: bridge.host(host="away"))
        last(lambda: bridge.host("gone"))
        with registry.watch() as alarm:
            bridge.hear(ago=LONG_AGO)
            last(lambda: of_hosts(alarm, 1))
            bridge.hear()
            last(lambda: of_hosts(alarm, 2))
