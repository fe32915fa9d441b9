"""Resuming a watch: with `since` it continues after a revision, or reports with one `lagged` event that it cannot."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adsum import Event, Kind, MetadataKeywords, Registry, Revision, Timeout
from tests.support import WITHIN, Agent, Opener, end_registrar, kill_registrar, let_go

# The promise: the last so many changes.
MAX_HISTORY = 8192


def rest(watch: Any) -> list[Event]:
    """All events that the watch has not given out yet."""
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
    """A watch that cannot resume from `since`: one `lagged` event, the present as its snapshot, then the changes."""
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
    """A watch since any revision gets all later events and no others; its snapshot is the state at that revision."""
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
    """Where an entry has changed since, the snapshot shows it as it was."""
    before = either.register("a", custom={"n": 1}).entry
    either.update("a", custom={"n": 2})
    either.unregister("a")
    with either.watch(since=1) as watch:
        assert watch.snapshot == [before]
    with either.watch(since=1, where=lambda entry: entry.metadata.custom["n"] == 2) as watch:
        assert watch.snapshot == []
        assert [event.kind for event in rest(watch)] == ["registered", "unregistered"]


def test_the_revision_of_a_watch_resumes_it(either: Registry) -> None:
    """`revision` is that of the last event given out, not of a pending one; a watch since it gives the rest."""
    with either.watch(capability="x") as first:
        for number in range(6):
            either.register(f"a{number}", capabilities={"x"} if number % 2 else set())
        assert first.next(WITHIN).revision == first.revision == 2
        with either.watch(since=first.revision, capability="x") as second:
            assert names(second) == ["a1"]
            assert revisions(rest(second)) == revisions(rest(first)) == [4, 6]


def test_the_revision_of_an_event_resumes_after_it(either: Registry) -> None:
    """A watch since an event's revision continues after this event, in another process too."""
    with either.watch() as watch:
        for name in "abc":
            either.register(name)
        at = watch.next(WITHIN).revision
    with Agent(either.folder) as agent:
        assert (
            agent.value(f"registry.watch(since=__import__('pickle').loads({pickle.dumps(at)!r})).next(9).revision") == 2
        )


def test_a_plain_number_is_a_revision(either: Registry) -> None:
    """A program that kept a revision as a plain int can resume from it."""
    either.register_many([("a", {}), ("b", {})])
    with either.watch(since=1) as watch:
        assert revisions(rest(watch)) == [2]


def test_since_now_is_from_now_on(either: Registry) -> None:
    """Since the newest revision there is no event yet, and no `lagged`."""
    either.register("a")
    with either.watch(since=1) as watch:
        assert rest(watch) == []
        assert names(watch) == ["a"]


@pytest.mark.parametrize("since", [2, 1000, 2**63, 2**70, Revision(2**64 - 1)])
def test_since_the_future_is_lagged(either: Registry, since: int) -> None:
    """A revision that was never reached cannot be resumed from."""
    either.register("a")
    with lagged(either, since) as watch:
        assert names(watch) == ["a"]


@pytest.mark.parametrize("since", [-1, True, False, 1.0, "1", b"\1"])
def test_since_what_is_no_revision_is_refused(either: Registry, since: Any) -> None:
    """Only whole numbers, 0 or more, are revisions."""
    with pytest.raises(ValueError, match="since="):
        either.watch(since=since)


@pytest.mark.parametrize("end", [kill_registrar, end_registrar])
def test_nothing_is_lost_with_a_registrar(either: Registry, end: Any) -> None:
    """A revision of an earlier registrar can be resumed from: the history is in the tables."""
    either.register("a")
    at = either.register("b").entry.revision
    either.register("c")
    end(either.folder)
    with either.watch(since=at) as watch:
        either.register("d")
        assert revisions(rest(watch)) == [3, 4]


@pytest.mark.parametrize("registered", [1, 3, 5])
def test_another_life_of_the_registry_is_lagged(opener: Opener, registered: int) -> None:
    """A revision of a registry that was removed and recreated has another epoch, whatever revision the new one has."""
    old = opener()
    old.register_many([(f"old{number}", {}) for number in range(3)])
    with old.watch() as watch:
        at = watch.revision
    let_go(old)
    end_registrar(old.folder)
    shutil.rmtree(old.folder)
    new = opener()
    new.register_many([(f"new{number}", {}) for number in range(registered)])
    with lagged(new, at):
        pass


def test_a_watch_notices_that_its_registry_was_recreated(opener: Opener) -> None:
    """A watch that is open when the folder is removed and recreated gets one `lagged` event, then new changes."""
    registry = opener()
    registry.register_many([(f"old{number}", {}) for number in range(3)])
    let_go(registry)
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
    """More changes than the history holds."""
    for start in range(0, MAX_HISTORY + 1, 1000):
        many: list[tuple[str, MetadataKeywords]] = [
            (f"n{number:05}", {}) for number in range(start, min(start + 1000, MAX_HISTORY + 1))
        ]
        registry.register_many(many)


def test_more_than_history_holds_is_lagged_once(either: Registry) -> None:
    """A watch that fell behind the history gets one `lagged` event; then snapshot and events are exact again."""
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


def test_the_history_reaches_back_as_far_as_promised(either: Registry) -> None:
    """The last 8,192 changes can be resumed from, and not one more."""
    overrun(either)
    newest = either.stats().revision
    with either.watch(since=newest - MAX_HISTORY) as watch:
        assert revisions(rest(watch)) == list(range(newest - MAX_HISTORY + 1, newest + 1))
    with lagged(either, newest - MAX_HISTORY - 1):
        pass


def test_the_history_is_bounded_in_bytes(registry: Registry) -> None:
    """S4: of changes that replaced large entries it keeps the last 8 MiB; a watch since an earlier one is lagged."""
    ballast = "x" * 60_000
    registry.register("a", custom={"ballast": ballast})
    for number in range(160):
        registry.update("a", custom={"ballast": ballast, "n": number})
    with lagged(registry, 1):
        pass
    newest = registry.stats().revision
    with registry.watch(since=newest - 100) as watch:
        assert len(rest(watch)) == 100
