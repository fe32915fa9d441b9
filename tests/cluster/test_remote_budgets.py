"""What other hosts do pushes nothing out that is about this one: neither its history nor its departures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Kind, Registry
from adsum._store.history import MAX_HISTORY
from adsum._store.layout import MAX_DEPARTURES

from ..support import end_registrar
from .bridging import Bridge, remote

BATCH = 1000
ENDED = MAX_DEPARTURES + 200


@pytest.fixture(scope="module")
def churned() -> Iterator[tuple[Registry, int]]:
    """A registry in which other hosts have changed more than the history holds, between changes of its own; and the
    revision before all of that."""
    base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
    folder = base / "registry"
    with adsum.open(path=folder, timeout=30) as registry:
        registry.register("stays")
        registry.register("gone").unregister()
        bridge = Bridge(registry)
        bridge.host("here")
        since = registry.stats().revision
        registry.update("stays", endpoint="tcp://first")
        for revision in range(1, MAX_HISTORY // BATCH + 3):
            bridge.put(*(remote(f"w{n}", 1, revision, endpoint=f"tcp://{revision}") for n in range(BATCH)))
        for first in range(0, ENDED, BATCH):
            some = [remote(f"x{n}") for n in range(first, min(first + BATCH, ENDED))]
            bridge.put(*some)
            bridge.end(*some)
        registry.update("stays", endpoint="tcp://last")
        yield registry, since
    end_registrar(folder)
    shutil.rmtree(base)


def test_a_watch_of_members_here_resumes_over_any_number_of_remote_changes(churned: tuple[Registry, int]) -> None:
    """A watch with ``hosts="here"`` resumes without `lagged`, however many changes other hosts made meanwhile."""
    registry, since = churned
    with registry.watch(since=since, hosts="here") as watch:
        assert [entry.process_id.local_id for entry in watch.snapshot] == ["stays"]
        assert watch.snapshot[0].endpoint is None
        events = [watch.next(10), watch.next(10)]
        assert [event.entry.endpoint for event in events if event.entry] == ["tcp://first", "tcp://last"]
        assert {event.kind for event in events} == {Kind.updated}
        with pytest.raises(adsum.Timeout):
            watch.next(0)
        assert watch.revision == registry.stats().revision


def test_a_watch_of_all_hosts_says_that_it_missed_some(churned: tuple[Registry, int]) -> None:
    """A watch of all hosts reports `lagged` where changes of other hosts have pushed out the history."""
    registry, since = churned
    with registry.watch(since=since) as watch:
        assert watch.next(10).kind is Kind.lagged


def test_the_departures_of_this_host_are_kept_beside_those_of_others(churned: tuple[Registry, int]) -> None:
    """However many members of other hosts end, the last departures of this host are kept."""
    registry, _ = churned
    reader = registry._reader
    assert [one.entry.process_id.local_id for one in reader.reports.departures(10, here=True)] == ["gone"]
    found = registry.departures()
    assert len(found) == MAX_DEPARTURES
    assert all(one.entry.host == "host-b" for one in found), "the newest ones"


def test_the_newest_changes_of_both_come_in_the_order_of_their_revisions(registry: Registry) -> None:
    """A watch reports changes of this host and of others in one order, without gaps."""
    registry.register("first")
    bridge = Bridge(registry)
    with registry.watch() as watch, registry.watch(hosts="here") as here:
        bridge.host("here")
        bridge.put(remote("a"))
        registry.register("second")
        bridge.end(remote("a"))
        registry.unregister("first")
        revisions = [int(watch.next(10).revision) for _ in range(5)]
        assert revisions == list(range(revisions[0], revisions[0] + 5))
        own = [here.next(10) for _ in range(2)]
        assert [(event.kind, int(event.revision)) for event in own] == [
            (Kind.registered, revisions[2]),
            (Kind.unregistered, revisions[4]),
        ]
    how = [(one.entry.process_id.local_id, one.how) for one in registry.departures()]
    assert how == [("first", "unregistered"), ("a", "died")]


def test_a_watch_of_members_here_that_sleeps_through_remote_changes_misses_nothing(registry: Registry) -> None:
    """Also where the first change here is after all of them."""
    registry.register("anchor")
    bridge = Bridge(registry)
    bridge.host("here")
    with registry.watch(hosts="here") as watch:
        since = watch.revision
        for number in range(3):
            bridge.put(remote("w", 1, number + 1))
        registry.register("later")
        event = watch.next(10)
        assert (event.kind, event.entry and event.entry.process_id.local_id) == (Kind.registered, "later")
    with registry.watch(since=since, hosts="here") as again:
        assert again.next(10).revision == event.revision
