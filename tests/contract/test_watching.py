"""Watching: one event for each change, in order, none lost and none twice."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import pytest

from adsum import AsyncWatch, Entry, Event, InvalidQuery, Kind, Registry, Timeout, Watch
from tests.support import WITHIN, Agent, Child, Opener, eventually


def next_events(watch: Watch, number: int) -> list[Event]:
    """The next events; the watch has no more than these."""
    events = [watch.next(WITHIN) for _ in range(number)]
    with pytest.raises(Timeout):
        watch.next(0)
    return events


def names(entries: Iterable[Entry]) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


def outline(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Kind and local id of each event."""
    return [(event.kind.value, event.entry.process_id.local_id if event.entry else "") for event in events]


def test_each_change_is_one_event(either: Registry) -> None:
    """Registration, update, health, unregistration and death come as one event each, with the entry as it was."""
    with either.watch() as watch, Agent(either.folder) as agent:
        a = either.register("a").entry
        agent.do("registry.register('b')")
        b = either["b"]
        updated = either.update("a", endpoint="x")
        degraded = either.update_health("a", "degraded")
        agent.kill()
        eventually(lambda: either.stats().entries == 1)
        either.unregister("a")
        events = next_events(watch, 6)
    assert events == [
        Event(Kind.registered, a, events[0].revision),
        Event(Kind.registered, b, events[1].revision),
        Event(Kind.updated, updated, events[2].revision, a),
        Event(Kind.updated, degraded, events[3].revision, updated),
        # The exit may be known already.
        Event(Kind.died, b, events[4].revision),
        Event(Kind.unregistered, degraded, events[5].revision),
    ]
    assert [event.revision for event in events] == [1, 2, 3, 4, 5, 6]


def test_changes_made_together_are_one_event_each(either: Registry) -> None:
    """`register_many` and the death of a process with many entries are as many events, in the order of revisions."""
    with either.watch() as watch:
        with Agent(either.folder) as agent:
            agent.do("registry.register_many([(f'm{n}', {}) for n in range(5)])")
            agent.kill()
        events = next_events(watch, 10)
    assert outline(events) == [(kind, f"m{n}") for kind in ("registered", "died") for n in range(5)]
    assert [event.revision for event in events] == list(range(1, 11))


def test_what_changes_nothing_is_no_event(either: Registry) -> None:
    """A call that is refused, or that finds nothing to change, makes no event."""
    either.register("a")
    with either.watch() as watch:
        with pytest.raises(ValueError, match="capabilities"):
            either.update("a", capabilities={""})
        either.get_or_register("a")
        either.unregister("nobody")
        next_events(watch, 0)


def test_a_hand_over_is_an_update(either: Registry) -> None:
    """The id was never free: one `updated` event, from the old holder's entry to the new one's."""
    with Child("input()") as child, either.watch("a") as watch:
        registration = either.register("a")
        before = registration.entry
        after = registration.hand_over(child.pid)
        assert next_events(watch, 2)[1] == Event(Kind.updated, after, after.revision, before)  # type: ignore[arg-type]
        assert (after.pid, after.incarnation) == (child.pid, after.revision)


def test_a_dead_holder_that_is_replaced_has_died(either: Registry) -> None:
    """Registering an id whose holder is dead is `died` and then `registered`, whether the registrar knew or not."""
    with Agent(either.folder) as agent, either.watch("a") as watch:
        agent.do("registry.register('a')")
        agent.kill_unreaped()
        either.register("a")
        assert outline(next_events(watch, 3)) == [("registered", "a"), ("died", "a"), ("registered", "a")]


def test_starting_and_stopping_to_match(either: Registry) -> None:
    """An update into the conditions is `registered`, one out of them `unregistered`; both have `previous`."""
    without = either.register("a", capabilities={"x"}).entry
    with either.watch(capability={"x", "y"}) as watch:
        with_both = either.update("a", capabilities={"x", "y"})
        again = either.update("a", endpoint="e")
        either.update("a", capabilities={"y"})
        either.unregister("a")
        events = next_events(watch, 3)
    assert [(event.kind, event.previous) for event in events] == [
        (Kind.registered, without),
        (Kind.updated, with_both),
        (Kind.unregistered, again),
    ]
    stopped = events[2].entry
    assert stopped is not None
    assert stopped.metadata.capabilities == {"y"}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"capability": "x"}, ["a", "b"]),
        ({"capability": ["x", "y"]}, ["b"]),
        ({"type": "service"}, ["c"]),
        ({"health_status": "degraded"}, ["b"]),
        ({"capability": "x", "health_status": "healthy"}, ["a"]),
        ({"node": "elsewhere"}, ["d"]),
        ({"namespace": "other"}, ["o"]),
        ({"where": lambda entry: entry.process_id.local_id > "b"}, ["c", "d"]),
        ({"id": "b"}, ["b"]),
        ({"id": ("other", "n", "o")}, ["o"]),
    ],
)
def test_a_watch_takes_the_conditions_of_find(
    either: Registry, conditions: dict[str, Any], expected: list[str]
) -> None:
    """Only matching entries make events, and are in the snapshot of a watch that is opened later; in one namespace."""
    with either.watch(**conditions) as before:
        either.register("a", capabilities={"x"})
        either.register("b", capabilities={"x", "y"}, health_status="degraded")
        either.register("c", type="service")
        either.register((either.namespace, "elsewhere", "d"))
        either.register(("other", "n", "o"))
        assert outline(next_events(before, len(expected))) == [("registered", name) for name in expected]
    with either.watch(**conditions) as after:
        assert sorted(names(after.snapshot)) == expected
        next_events(after, 0)


def test_the_snapshot_is_the_state_before_the_events(either: Registry) -> None:
    """`snapshot` is sorted by id and exact at `revision`; changes after it are events, those before it are not."""
    either.register_many([("b", {}), ("a", {}), ("c", {})])
    either.unregister("c")
    with either.watch() as watch:
        assert watch.snapshot == [either["a"], either["b"]]
        assert watch.revision == 4
        either.register("d")
        assert outline(next_events(watch, 1)) == [("registered", "d")]
        assert (names(watch.snapshot), watch.revision) == (["a", "b"], 5)


def test_the_snapshot_may_hold_an_entry_whose_owner_is_dead(either: Registry) -> None:
    """It is the state of the tables. An entry whose owner has died makes a `died` event, so no death is missed."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        agent.kill_unreaped()
        with either.watch() as watch:
            assert names(watch.snapshot) in ([], ["a"])
            next_events(watch, 0 if not watch.snapshot else 1)


def test_a_registry_that_does_not_exist_yet_can_be_watched(opener: Opener) -> None:
    """A watch of a registry that does not exist yet gets the first registration."""
    registry = opener()
    with registry.watch() as watch:
        assert (watch.snapshot, watch.revision) == ([], 0)
        opener().register("a")
        assert outline(next_events(watch, 1)) == [("registered", "a")]


def test_the_same_condition_twice(either: Registry) -> None:
    """Two watches of one condition each get every event, at their own pace."""
    with either.watch(capability="x") as quick, either.watch(capability="x") as slow:
        seen = []
        for number in range(5):
            either.register(f"a{number}", capabilities={"x"})
            seen += next_events(quick, 1)
        assert next_events(slow, 5) == seen


def test_nothing_within_the_time_is_a_timeout(either: Registry) -> None:
    """`next` gives up after `timeout` seconds; the event that comes later is not lost."""
    with either.watch() as watch:
        with pytest.raises(Timeout):
            watch.next(0.01)
        either.register("a")
        assert outline(next_events(watch, 1)) == [("registered", "a")]


def test_an_iteration_goes_on_for_ever(either: Registry) -> None:
    """Iterating gives the events, until the watch is closed."""
    with either.watch() as watch:
        seen = []
        either.register("a")
        for event in watch:
            seen.append(event)
            if len(seen) < 4:
                either.update("a", custom={"n": len(seen)})
            else:
                watch.close()
    assert outline(seen) == [("registered", "a")] + [("updated", "a")] * 3


def test_a_condition_that_raises_comes_to_the_consumer(either: Registry) -> None:
    """What `where` raises is raised by `next`; the watch goes on with the same change, and loses none."""
    trouble = [LookupError("on purpose")]

    def where(entry: Entry) -> bool:
        if entry.process_id.local_id == "b" and trouble:
            raise trouble.pop()
        return True

    with either.watch(where=where) as watch:
        for name in "abc":
            either.register(name)
        assert watch.next(WITHIN).revision == 1
        with pytest.raises(LookupError, match="on purpose"):
            watch.next(WITHIN)
        assert outline(next_events(watch, 2)) == [("registered", "b"), ("registered", "c")]


def test_a_consumer_that_raises_ends_only_its_loop(either: Registry) -> None:
    """An error in the body of the loop is the caller's; the watch can be iterated again, from the next event."""
    with either.watch() as watch:
        either.register_many([("a", {}), ("b", {}), ("c", {})])
        with pytest.raises(ZeroDivisionError):
            _ = [1 // (event.revision - 2) for event in watch]
        assert outline(next_events(watch, 1)) == [("registered", "c")]


def test_impossible_conditions_are_refused(either: Registry) -> None:
    """An impossible condition is a `ValueError`, as in `find`, and so is an impossible id, or one in another namespace
    than the condition's."""
    either.register("a")
    mistakes: list[dict[str, Any]] = [{"type": "robot"}, {"health_status": "fine"}, {"capability": ""}, {"id": "a\0b"}]
    for wrong in mistakes:
        with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
            either.watch(**wrong)
    with pytest.raises(InvalidQuery, match=r"namespace='other': the id .* is in another one"):
        either.watch("a", namespace="other")
    with pytest.raises(TypeError, match="no such condition: colour"):
        either.watch(colour="red")  # type: ignore[call-arg]


def test_events_are_plain_data(either: Registry) -> None:
    """An event survives pickling, and its revision keeps the epoch of its registry."""
    with either.watch() as watch:
        either.register("a")
        (event,) = next_events(watch, 1)
    again = pickle.loads(pickle.dumps(event))
    assert again == event
    assert again.revision.epoch == event.revision.epoch != 0


def test_a_watch_says_what_it_is(either: Registry) -> None:
    """Its `repr` has the kind, the conditions and the revision."""
    with either.watch(capability="x") as watch:
        inner = getattr(watch, "inner", watch)
        assert isinstance(inner, Watch | AsyncWatch)
        assert "'x'" in repr(inner)
        assert "revision=0" in repr(inner)
    assert repr(inner).endswith("closed>")
