"""Resuming a watch: `since` continues from a revision, or reports with one `lagged` event that it cannot."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adsum import Event, Kind, Registry, Revision, Timeout
from tests.support import WITHIN, Agent, Opener, end_registrar, kill_registrar

# The documented length of the history, in changes.
MAX_HISTORY = 8192


def rest(watch: Any) -> list[Event]:
    """All events that are available now."""
    events = []
    while True:
        try:
            events.append(watch.next(0))
        except Timeout:
            return events


def names(watch: Any) -> list[str]:
    return [entry.process_id.local_id for entry in watch.snapshot]


def revisions(events: Iterable[Event]) -> list[int]:
    return [int(event.revision) for event in events]


@contextmanager
def lagged(registry: Registry, since: int) -> Iterator[Any]:
    """A watch that cannot resume from `since`: it reports `lagged` once, and continues from the current state."""
    with registry.watch(since=since) as watch:
        event = watch.next(WITHIN)
        assert event == Event(Kind.lagged, None, watch.revision)
        assert watch.snapshot == registry.find()
        assert watch.revision == registry.stats().revision
        assert rest(watch) == []
        yield watch
        registry.register("later")
        assert [(event.kind, event.revision) for event in rest(watch)] == [("registered", watch.revision)]


def test_every_revision_can_be_resumed_from(either: Registry) -> None:
    """A watch can resume from any revision: its snapshot is the state at that revision, and all later events follow."""
    with either.watch() as first:
        either.register_many([("a", {}), ("b", {})])
        either.update("a", custom={"n": 1})
        either.unregister("b")
        either.register("c")
        either.update("c", custom={"n": 2})
        events = rest(first)
    states = [[], ["a"], ["a", "b"], ["a", "b"], ["a"], ["a", "c"], ["a", "c"]]
    for revision, state in enumerate(states):
        with either.watch(since=revision) as watch:
            assert names(watch) == state
            assert rest(watch) == events[revision:]


def test_a_snapshot_of_the_past_has_the_entries_of_the_past(either: Registry) -> None:
    """If an entry has changed since the revision, the snapshot shows the entry as of that revision."""
    before = either.register("a", custom={"n": 1}).entry
    either.update("a", custom={"n": 2})
    either.unregister("a")
    with either.watch(since=1) as watch:
        assert watch.snapshot == [before]
    with either.watch(since=1, where=lambda entry: entry.metadata.custom["n"] == 2) as watch:
        assert watch.snapshot == []
        assert [event.kind for event in rest(watch)] == ["registered", "unregistered"]


def test_a_watch_tells_where_it_is(either: Registry) -> None:
    """`revision` covers the events that `next` has returned; a second watch since it gets the remaining events."""
    with either.watch(capability="x") as first:
        for number in range(6):
            either.register(f"a{number}", capabilities={"x"} if number % 2 else set())
        assert first.next(WITHIN).revision == first.revision == 2
        with either.watch(since=first.revision, capability="x") as second:
            assert names(second) == ["a1"]
            assert revisions(rest(second)) == revisions(rest(first)) == [4, 6]


def test_an_event_tells_where_to_go_on(either: Registry) -> None:
    """An event's revision resumes after that event, also in another process."""
    with either.watch() as watch:
        for name in "abc":
            either.register(name)
        at = watch.next(WITHIN).revision
    with Agent(either.folder) as agent:
        assert (
            agent.value(f"registry.watch(since=__import__('pickle').loads({pickle.dumps(at)!r})).next(9).revision") == 2
        )


def test_a_plain_number_is_a_revision(either: Registry) -> None:
    """A revision that was stored as a plain int can be resumed from."""
    either.register_many([("a", {}), ("b", {})])
    with either.watch(since=1) as watch:
        assert revisions(rest(watch)) == [2]


def test_since_now_is_from_now_on(either: Registry) -> None:
    """A watch since the newest revision starts with no event and no `lagged`."""
    either.register("a")
    with either.watch(since=1) as watch:
        assert rest(watch) == []
        assert names(watch) == ["a"]


@pytest.mark.parametrize("since", [2, 1000, 2**63, 2**70, Revision(2**64 - 1)])
def test_since_the_future_is_lagged(either: Registry, since: int) -> None:
    """A watch since a revision that was never reached starts with `lagged`."""
    either.register("a")
    with lagged(either, since) as watch:
        assert names(watch) == ["a"]


@pytest.mark.parametrize("since", [-1, True, False, 1.0, "1", b"\1"])
def test_since_what_is_no_revision_is_refused(either: Registry, since: Any) -> None:
    """Only whole numbers from 0 up are revisions."""
    with pytest.raises(ValueError, match="since="):
        either.watch(since=since)


@pytest.mark.parametrize("end", [kill_registrar, end_registrar])
def test_nothing_is_lost_with_a_registrar(either: Registry, end: Any) -> None:
    """A watch can resume from a revision of an earlier registrar: the history is in the tables."""
    either.register("a")
    at = either.register("b").entry.revision
    either.register("c")
    end(either.folder)
    with either.watch(since=at) as watch:
        either.register("d")
        assert revisions(rest(watch)) == [3, 4]


@pytest.mark.parametrize("registered", [1, 3, 5])
def test_another_life_of_the_registry_is_lagged(opener: Opener, registered: int) -> None:
    """A revision of a registry that was removed and made again has another epoch, so the watch reports `lagged`."""
    old = opener()
    old.register_many([(f"old{number}", {}) for number in range(3)])
    with old.watch() as watch:
        at = watch.revision
    end_registrar(old.folder)
    shutil.rmtree(old.folder)
    new = opener()
    new.register_many([(f"new{number}", {}) for number in range(registered)])
    with lagged(new, at):
        pass


def test_a_watch_notices_that_its_registry_was_made_anew(opener: Opener) -> None:
    """An open watch reports `lagged` once when its folder is removed and made again, and follows the new registry."""
    registry = opener()
    registry.register_many([(f"old{number}", {}) for number in range(3)])
    with registry.watch() as watch:
        end_registrar(registry.folder)
        shutil.rmtree(registry.folder)
        with Agent(registry.folder) as agent:
            agent.do("registry.register_many([(f'new{n}', {}) for n in range(3)])")
            assert watch.next(WITHIN).kind == "lagged"
            assert names(watch) == ["new0", "new1", "new2"]
            agent.do("registry.register('more')")
            assert revisions([watch.next(WITHIN)]) == [4]
            assert rest(watch) == []


def overrun(registry: Registry) -> None:
    """Make more changes than the history holds."""
    for start in range(0, MAX_HISTORY + 1, 1000):
        many: list[tuple[Any, dict[str, Any]]] = [
            (f"n{number:05}", {}) for number in range(start, min(start + 1000, MAX_HISTORY + 1))
        ]
        registry.register_many(many)


def test_more_than_history_holds_is_lagged_once(either: Registry) -> None:
    """A watch that fell behind the history reports `lagged` once; then snapshot and events are exact again."""
    either.register("a")
    with either.watch(where=lambda entry: entry.process_id.local_id < "b") as watch:
        either.update("a", custom={"n": 1})
        overrun(either)
        assert names(watch) == ["a"]
        assert watch.next(WITHIN) == Event(Kind.lagged, None, watch.revision)
        assert watch.snapshot == [either["a"]]
        assert rest(watch) == []
        either.unregister("a")
        assert [event.kind for event in rest(watch)] == ["unregistered"]


def test_the_history_reaches_back_as_far_as_it_says(either: Registry) -> None:
    """A watch can resume from exactly the last 8,192 changes."""
    overrun(either)
    newest = either.stats().revision
    with either.watch(since=newest - MAX_HISTORY) as watch:
        assert revisions(rest(watch)) == list(range(newest - MAX_HISTORY + 1, newest + 1))
    with lagged(either, newest - MAX_HISTORY - 1):
        pass


def test_the_history_is_bounded_in_bytes(registry: Registry) -> None:
    """S4: the history keeps the last 8 MiB of replaced entries; a watch since an older revision reports `lagged`."""
    ballast = "x" * 60_000
    registry.register("a", custom={"ballast": ballast})
    for number in range(160):
        registry.update("a", custom={"ballast": ballast, "n": number})
    with lagged(registry, 1):
        pass
    newest = registry.stats().revision
    with registry.watch(since=newest - 100) as watch:
        assert len(rest(watch)) == 100
