"""The entries of other hosts in the tables of a registry. The bridge is the test's own; everything else is real."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import adsum
from adsum import Kind, OtherHost, ProcessId, Reach, Registry
from adsum import _wire as wire

from ..support import eventually, registrar_pid
from .bridging import BOOT, HOST, Bridge, remote

ID = ProcessId("default", HOST, "worker")


@pytest.fixture
def bridge(registry: Registry) -> Bridge:
    registry.register("local", capabilities={"remote"})
    return Bridge(registry)


def ids(entries: list[adsum.Entry]) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


def test_one_search_finds_members_of_this_and_of_other_hosts(registry: Registry, bridge: Bridge) -> None:
    """A member of a host that is here is in `find`, `lookup`, `count` and the mapping beside the local ones."""
    bridge.put(remote("nobody"))
    assert registry.lookup(("default", HOST, "nobody")) is None, "the host was never heard of"
    bridge.say([], [])
    bridge.host("returning")
    bridge.put(remote("worker", endpoint="http://10.0.0.2:9"))
    assert registry.lookup(ID) is None, "some of its entries may be missing still"
    bridge.host("here")
    for _ in range(3):
        entry = registry.lookup(ID)
        assert entry is not None
        assert (entry.host, entry.reach, entry.pid, entry.endpoint) == (HOST, Reach.remote, 4711, "http://10.0.0.2:9")
        assert ids(registry.find(capability="remote")) == ["worker", "local"]
        assert registry.count(capability="remote") == len(registry) == 2
        assert ids(registry.find(capability="remote", hosts="here")) == ["local"]
        assert registry.choose(capability="remote", prefer="here") == registry["local"]
        assert registry.count(capability="remote", hosts="here") == 1
    assert registry.audit() == []
    assert registry["local"].reach == "here"
    assert registry["local"].host == ""


def test_an_unreachable_host_takes_its_members_out_of_every_answer(registry: Registry, bridge: Bridge) -> None:
    """They are left out unless asked for; they are in all answers again when the host has returned and is whole."""
    bridge.host("here")
    bridge.put(remote("worker"), remote("other"))
    with registry.watch() as watch:
        bridge.host("unreachable")
        for _ in range(3):
            assert registry.lookup(ID) is None
            assert ids(registry.find(capability="remote")) == ["local"]
            assert registry.count(capability="remote") == 1
        entry = registry.lookup(ID, unreachable=True)
        assert entry is not None
        assert entry.reach is Reach.unreachable
        found = registry.find(capability="remote", unreachable=True)
        assert [(e.process_id.local_id, e.reach.value) for e in found] == [
            ("other", "unreachable"),
            ("worker", "unreachable"),
            ("local", "here"),
        ]
        bridge.fence += 1
        bridge.host("returning")
        assert registry.lookup(ID) is None
        bridge.end(remote("other"), how="died", exit=-9)
        bridge.host("here")
        assert registry.lookup(ID) is not None
        assert ids(registry.find(capability="remote")) == ["worker", "local"]
        events = [watch.next(10) for _ in range(4)]
    assert [(event.kind, event.host) for event in events] == [
        (Kind.unreachable, HOST),
        (Kind.returned, HOST),
        (Kind.died, ""),
        (Kind.whole, HOST),
    ], "one event for the host, however many members it has"
    departure = registry.departures(limit=1)[0]
    assert (departure.how, departure.exit, departure.entry.host) == ("died", -9, HOST)


def test_a_host_that_is_back_at_once_with_its_lease_is_never_missed(registry: Registry, bridge: Bridge) -> None:
    """A bridge that goes on after its predecessor has another fence: no event, and no moment without the members."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.watch() as watch:
        bridge.fence += 1
        bridge.host("returning")
        assert registry.lookup(ID) is not None
        bridge.host("here")
        bridge.put(remote("marker"))
        event = watch.next(10)
    assert event.entry is not None
    assert event.entry.process_id.local_id == "marker"


def test_a_reader_that_hears_nothing_takes_all_other_hosts_for_unreachable(registry: Registry, bridge: Bridge) -> None:
    """The reader decides by its own clock, when the bridge has written nothing for the TTL; local members stay."""
    bridge.host("here")
    bridge.put(remote("worker"))
    assert ids(registry.find(capability="remote")) == ["worker", "local"]
    bridge.hear(ago=61.0)
    assert registry.lookup(ID) is None
    assert ids(registry.find(capability="remote")) == ["local"]
    assert registry.choose(capability="remote") == registry["local"]
    assert ids(registry.find(capability="remote", limit=5)) == ["local"]
    bridge.hear()
    assert registry.lookup(ID) is not None


def test_another_boot_proves_that_all_earlier_processes_have_died(registry: Registry, bridge: Bridge) -> None:
    """A host that returns with another boot id ends the entries of its earlier boot as died."""
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.host("unreachable")
    with registry.watch(ID) as watch:
        bridge.fence += 1
        bridge.host("returning", boot_id=b"c" * 16)
        assert watch.next(10).kind is Kind.died
    assert registry.departures(limit=1)[0].how == "died"
    assert registry.lookup(ID, unreachable=True) is None


@pytest.mark.parametrize("how", ["left", "unreachable_forgotten"])
def test_a_host_that_is_given_up_takes_its_entries_along(registry: Registry, bridge: Bridge, how: str) -> None:
    """They are unregistered, and their departures say why: nothing says that they have died."""
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.host("gone", how=how)
    assert registry.lookup(ID, unreachable=True) is None
    assert registry.departures(limit=1)[0].how == how
    assert registry.audit() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(ID, endpoint="x"),
        lambda r: r.update(ID, add={"custom.n": 1}),
        lambda r: r.update_health(ID, "degraded"),
        lambda r: r.unregister(ID),
        lambda r: r.unregister_many([ID]),
        lambda r: r.update_many([(ID, {"endpoint": "x"})]),
        lambda r: r.claim(ID, timeout=5).release(),
        lambda r: r.usage(ID),
        lambda r: r.set_gauge(ID, "load", 1.0),
    ],
    ids=["update", "add", "health", "unregister", "unregister_many", "update_many", "claim", "usage", "gauge"],
)
def test_only_its_own_host_can_change_a_member(
    registry: Registry, bridge: Bridge, change: Callable[[Registry], object]
) -> None:
    """A change of a member of another host raises `OtherHost`, which carries the entry, and changes nothing."""
    bridge.host("here")
    bridge.put(remote("worker", gauges={"load": 0.5}))
    with pytest.raises(OtherHost, match="host-b") as raised:
        change(registry)
    assert raised.value.entry.process_id == ID
    assert registry[ID].gauges == {"load": 0.5}
    assert registry[ID].metadata.endpoint is None


def test_claims_are_of_members_of_this_registry(registry: Registry, bridge: Bridge) -> None:
    """A claim by a condition that members of two hosts meet takes a slot of the one here."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.claim(capability="remote", timeout=5) as claim:
        assert claim.entry.process_id.local_id == "local"


def test_a_node_of_another_host_is_not_to_be_had(registry: Registry, bridge: Bridge) -> None:
    """Neither a registration nor a stand-by may take an id under it."""
    bridge.host("here")
    with pytest.raises(adsum.InvalidProcessId, match="belongs to the host"):
        registry.register(("default", HOST, "mine"))
    with pytest.raises(adsum.InvalidProcessId, match="belongs to the host"):
        registry.stand_by(("default", HOST, "mine")).result(10)
    bridge.host("gone")
    assert registry.register(("default", HOST, "mine")).entry.pid == os.getpid()


def test_an_id_that_is_held_here_is_left_alone(registry: Registry, bridge: Bridge) -> None:
    """What another host says about it changes nothing, and the other entries of that host are mirrored."""
    bridge.host("here")
    local = registry.register(("default", "rack", "both"))
    bridge.put(remote("both", host="rack"), remote("worker"), host=HOST)
    assert registry.lookup(("default", "rack", "both")) == local.entry
    assert registry.lookup(ID) is not None


def test_an_update_keeps_the_incarnation_and_a_new_registration_does_not(registry: Registry, bridge: Bridge) -> None:
    """An update on another host keeps the incarnation that the entry has here; a new registration there gives it a
    larger one."""
    bridge.host("here")
    bridge.put(remote("worker"))
    first = registry[ID]
    assert not bridge.put(remote("worker")), "said before: nothing changes"
    bridge.put(remote("worker", 1, 7, endpoint="x"))
    second = registry[ID]
    assert (second.incarnation, second.endpoint) == (first.incarnation, "x")
    bridge.put(remote("worker", 9))
    assert registry[ID].incarnation > second.incarnation
    assert registry.audit() == []


def test_a_late_heartbeat_of_another_host_is_judged_there(registry: Registry, bridge: Bridge) -> None:
    """The registrar here notes no late heartbeat of a member of another host."""
    bridge.host("here")
    bridge.put(remote("worker", heartbeat=0.05))
    assert registry[ID].metadata.health_status == "healthy"
    registry.register("tick", heartbeat=0.05)
    registry.wait_for("tick", health_status="unhealthy", timeout=30)
    assert registry[ID].metadata.health_status == "healthy"


def test_a_host_with_too_many_entries_is_left_out_as_a_whole(registry_folder: Path) -> None:
    """Half of a host would be a wrong answer to every search. Local members have room."""
    limits = adsum.Limits(max_remote_entries=3, max_entries=2)
    with adsum.open(path=registry_folder, timeout=10, limits=limits) as registry:
        check_too_many(registry)


def check_too_many(registry: Registry) -> None:
    registry.register("first")
    bridge = Bridge(registry)
    bridge.host("here")
    bridge.put(*(remote(f"w{n}") for n in range(3)))
    assert len(registry) == 4
    registry.register("local")
    bridge.put(remote("w3"))
    assert ids(registry.find()) == ["first", "local"]
    bridge.put(remote("w0"))
    assert ids(registry.find()) == ["first", "local"], "until it begins anew"
    bridge.fence += 1
    bridge.host("returning")
    bridge.put(remote("w0"))
    bridge.host("here")
    assert len(registry) == 3
    assert registry.audit() == []


def test_invalid_metadata_of_another_host_is_left_out(registry: Registry, bridge: Bridge) -> None:
    """An entry with metadata over the limits is not mirrored; the entries beside it are."""
    bridge.host("here")
    bridge.put(remote("bad", custom={"text": "x" * 70_000}), remote("worker"))
    assert ids(registry.find(capability="remote")) == ["worker", "local"]
    assert registry.audit() == []


def test_a_host_that_is_lost_before_it_was_whole_again_tells_each_step_once(registry: Registry, bridge: Bridge) -> None:
    """A lease that comes and goes: each `returned` follows an `unreachable`. A host that was never whole is not
    missed."""
    with registry.watch() as watch:
        for state in ("returning", "unreachable", "returning", "here", "unreachable", "returning", "unreachable"):
            bridge.host(state)
            bridge.fence += state == "unreachable"
        bridge.host("returning")
        bridge.host("here")
        events = [watch.next(10).kind for _ in range(6)]
        with pytest.raises(adsum.Timeout):
            watch.next(0)
    assert events == [Kind.whole, Kind.unreachable, Kind.returned, Kind.unreachable, Kind.returned, Kind.whole]


def test_how_a_member_ended_is_unknown_where_it_was_missed(registry: Registry, bridge: Bridge) -> None:
    """Another registration of its id is there, and nothing says that its process has died."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.watch(ID) as watch:
        bridge.put(remote("worker", 9))
        assert [watch.next(10).kind for _ in range(2)] == [Kind.unregistered, Kind.registered]
    assert registry.departures(limit=1)[0].how == "unknown"


def test_how_a_member_ended_is_told_with_the_one_that_has_its_id(registry: Registry, bridge: Bridge) -> None:
    """The end of a member and the next holder of its id, mirrored together, are three events in order and two
    departures."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.watch(ID) as watch:
        bridge.say(changes=[wire.RemoteChange(HOST, ID, remote("worker", 9), "died", -9)])
        bridge.say(changes=[wire.RemoteChange(HOST, ID, remote("worker", 12), "handed_over")])
        events = [watch.next(10) for _ in range(3)]
    assert [event.kind for event in events] == [Kind.died, Kind.registered, Kind.updated], "handed over: never free"
    incarnations = [event.entry.incarnation for event in events if event.entry is not None]
    assert incarnations == sorted(set(incarnations))
    assert [(one.how, one.exit) for one in registry.departures()] == [("handed_over", None), ("died", -9)]
    assert registry.audit() == []


@pytest.mark.parametrize(("how", "exit"), [("\x1b[2J", 3), ("died", 2**40), ("", None)])
def test_a_host_cannot_say_what_no_registry_says(
    registry: Registry, bridge: Bridge, how: str, exit: int | None
) -> None:
    """An impossible reason or exit from another host becomes `unknown` or none in the departure."""
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.end(remote("worker"), how=how, exit=exit)
    departure = registry.departures(limit=1)[0]
    assert departure.how in ("unknown", "died")
    assert departure.exit in (None, 3)


@pytest.mark.parametrize("id", [("default", HOST, "x" * 600), ("default", HOST, ""), ("a\0b", HOST, "c")])
def test_an_impossible_id_of_another_host_spoils_nothing_else(
    registry: Registry, bridge: Bridge, id: tuple[str, str, str]
) -> None:
    """It is left out, and what was heard with it is applied."""
    bridge.host("here")
    bad = msgspec.structs.replace(remote("bad"), process_id=ProcessId(*id))
    bridge.put(bad, remote("worker"), remote("claimed", gauges={}))
    assert ids(registry.find(capability="remote")) == ["claimed", "worker", "local"]
    bridge.say(changes=[wire.RemoteChange(HOST, bad.process_id), wire.RemoteChange(HOST, ID, None, "died")])
    assert registry.lookup(ID) is None
    assert registry.audit() == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"created_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is the point
        {"endpoint": ""},
        {"heartbeat": 0.0},
        {"slots": 0},
        {"doing": "two\nlines"},
        {"capabilities": frozenset({""})},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_an_entry_that_no_registration_may_have_is_left_out(
    registry: Registry, bridge: Bridge, metadata: dict[str, Any]
) -> None:
    """A host whose entries break the rules spoils nothing else."""
    bridge.host("here")
    bridge.put(remote("bad", **metadata), remote("worker"))
    assert ids(registry.find(capability="remote")) == ["worker", "local"]
    assert registry.audit() == []


def test_a_node_that_goes_to_another_host_takes_its_ids_along(registry: Registry, bridge: Bridge) -> None:
    """What the host before had under it ends, as it cannot get the node back; its other members stay."""
    bridge.host("here", host="rack")
    bridge.put(remote("both", host="rack"), host="rack")
    bridge.host("unreachable", host="rack")
    bridge.host("here")
    bridge.put(msgspec.structs.replace(remote("both", 7), process_id=ProcessId("default", "rack", "both")))
    assert registry.lookup(("default", "rack", "both")) is None, "it is the other host's still"
    bridge.fence += 1
    bridge.say([wire.RemoteHost(HOST, "here", BOOT, bridge.fence, frozenset({HOST, "rack"}))])
    bridge.put(msgspec.structs.replace(remote("both", 7), process_id=ProcessId("default", "rack", "both")))
    entry = registry.lookup(("default", "rack", "both"))
    assert entry is not None
    assert entry.host == HOST
    assert registry.departures(limit=1)[0].how == "left"
    assert [(host.name, sorted(host.nodes)) for host in registry.hosts()] == [(HOST, [HOST, "rack"]), ("rack", [])]
    assert registry.audit() == []


def test_a_registrar_with_members_of_other_hosts_alone_leaves(registry_folder: Path) -> None:
    """They need no registrar here: it serves programs of this machine."""
    with adsum.open(path=registry_folder, timeout=10, limits=adsum.Limits(linger=0.2)) as registry:
        registry.register("local")
        bridge = Bridge(registry)
        bridge.host("here")
        bridge.put(remote("worker"))
        registry.unregister("local")
    eventually(lambda: registrar_pid(registry_folder) is None)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert registry.lookup(ID) is not None


def test_members_of_threads_change_nothing_of_what_is_said_about_reach(registry: Registry, bridge: Bridge) -> None:
    """Where this process has a thread as a member, which each search asks about, unreachable members are marked too."""
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.host("unreachable")
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        registry.register("thread", thread)
        found = registry.find(capability="remote", unreachable=True)
        assert [(e.process_id.local_id, e.reach.value) for e in found] == [("worker", "unreachable"), ("local", "here")]
    finally:
        ended.set()
        thread.join()


def test_a_count_from_the_index_includes_the_unreachable_where_asked(
    registry: Registry, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts of many entries come from an index, and agree with what `find` gives."""
    monkeypatch.setattr("adsum._store.reader.MOST_COUNTED", 0)
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.host("unreachable")
    assert registry.count(capability="remote") == 1
    assert registry.count(capability="remote", unreachable=True) == 2


def test_a_host_returns_under_the_fence_that_it_had(registry: Registry, bridge: Bridge) -> None:
    """An etcd that started empty gives the same fence again: another tenure of the host's bridge is another one."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.watch() as watch:
        bridge.host("unreachable")
        bridge.tenure = b"another"
        bridge.host("returning")
        bridge.host("here")
        kinds = [watch.next(10).kind.value for _ in range(3)]
    assert kinds == ["unreachable", "returned", "whole"]


def test_a_host_that_was_left_out_is_tried_again_under_the_fence_that_it_had(registry_folder: Path) -> None:
    """In another tenure of its bridge it may fit."""
    limits = adsum.Limits(max_remote_entries=2)
    with adsum.open(path=registry_folder, timeout=10, limits=limits) as registry:
        registry.register("local")
        bridge = Bridge(registry)
        bridge.host("here")
        bridge.put(*(remote(f"w{number}") for number in range(3)))
        assert registry.hosts()[0].left_out
        bridge.host("here")
        assert registry.hosts()[0].left_out
        bridge.tenure = b"another"
        bridge.host("here")
        assert not registry.hosts()[0].left_out


def test_a_host_that_was_forgotten_is_a_new_one_when_it_comes(registry: Registry, bridge: Bridge) -> None:
    """Its members are registered, and then it is whole: nothing was kept of the host that could return."""
    bridge.host("here")
    bridge.put(remote("worker"))
    with registry.watch() as watch:
        bridge.host("unreachable")
        bridge.host("gone", how="unreachable_forgotten")
        bridge.fence += 1
        bridge.host("returning")
        bridge.put(remote("worker"))
        bridge.host("here")
        kinds = [watch.next(10).kind for _ in range(4)]
    assert kinds == [Kind.unreachable, Kind.unregistered, Kind.registered, Kind.whole]


@pytest.mark.parametrize(
    "end",
    [
        lambda bridge: bridge.end(remote("worker")),
        lambda bridge: bridge.end(remote("worker"), how="unregistered"),
        lambda bridge: bridge.say(changes=[wire.RemoteChange(HOST, ID, remote("worker", 12), "handed_over")]),
        lambda bridge: bridge.host("gone"),
        lambda bridge: bridge.host("gone", how="unreachable_forgotten"),
    ],
    ids=["died", "unregistered", "handed_over", "left", "forgotten"],
)
def test_a_member_that_cannot_be_reached_is_gone_when_it_has_ended(
    registry: Registry, bridge: Bridge, end: Callable[[Bridge], object]
) -> None:
    """A wait for its end goes on while its host is away or returns, and ends with what says that it has ended."""
    bridge.host("here")
    bridge.put(remote("worker"))
    bridge.host("unreachable")
    with pytest.raises(adsum.Timeout, match="its host host-b cannot be reached"):
        registry.wait_until_gone(ID, 0.3)
    ended = threading.Event()

    def wait() -> None:
        registry.wait_until_gone(ID, 30)
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        bridge.fence += 1
        bridge.host("returning")
        assert not ended.wait(0.3)
    finally:
        end(bridge)
        waiting.join(30)
    assert ended.is_set()
