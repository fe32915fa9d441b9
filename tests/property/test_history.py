"""The history: a watch since any revision gets exactly the changes that lead to every later state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adsum import Entry, Event, HealthStatus, MetadataKeywords, ProcessId, Registry, Timeout
from tests.process.people import sleepers
from tests.support import eventually, kill_registrar

State: TypeAlias = "dict[ProcessId, Entry]"
Ask: TypeAlias = "tuple[Any, ...]"

names = st.sampled_from("abcd")
namespaces = st.sampled_from(("default", "other"))
capabilities = st.frozensets(st.sampled_from("xy"))
healths = st.sampled_from(HealthStatus)
fields = st.fixed_dictionaries(
    {},
    optional={
        "capabilities": capabilities,
        "health_status": healths,
        "type": st.sampled_from(("agent", "service")),
        "custom": st.just({}) | st.fixed_dictionaries({"n": st.integers(0, 9)}),
        "heartbeat": st.none() | st.just(1000.0),
    },
)
ids = st.tuples(namespaces, names)
# The owner of the entry: this process, or one of three that can die.
owners = st.integers(0, 5)
asks: st.SearchStrategy[list[Ask]] = st.lists(
    st.one_of(
        st.tuples(st.just("register"), ids, owners, fields),
        st.tuples(st.just("register"), ids, owners, fields),
        st.tuples(st.just("register_many"), st.lists(ids, min_size=2, max_size=4, unique=True), owners, fields),
        st.tuples(st.just("update"), ids, fields),
        st.tuples(st.just("update"), ids, fields),
        st.tuples(st.just("update_health"), ids, healths),
        st.tuples(st.just("heartbeat"), ids),
        st.tuples(st.just("unregister"), ids),
        st.tuples(st.just("hand_over"), ids, owners),
        st.tuples(st.just("kill_registrar")),
    ),
    min_size=1,
    max_size=25,
)
conditions: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "capability": capabilities,
        "health_status": healths,
        "type": st.sampled_from(("agent", "service")),
        "namespace": namespaces,
    },
)


class World:
    """A registry that changes, and its states as they were read between the changes."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        for namespace in ("default", "other"):
            for entry in registry.list_all(namespace):
                registry.unregister(entry.process_id)
        self.states: dict[int, dict[str, State]] = {}
        self.began = self._look()

    def _look(self) -> int:
        """Read the present entries of both namespaces, from the tables and not from the history."""
        with self.registry.watch() as default, self.registry.watch(namespace="other") as other:
            snapshots = {"default": default.snapshot, "other": other.snapshot}
            revision = int(default.revision)
        self.states[revision] = {
            namespace: {entry.process_id: entry for entry in snapshot} for namespace, snapshot in snapshots.items()
        }
        return revision

    def ask(self, what: Ask, pids: list[int]) -> None:
        call: Callable[..., object] = getattr(self, f"_{what[0]}")
        call(*what[1:], pids=pids)
        self._look()

    def _id(self, id: tuple[str, str]) -> ProcessId:
        return ProcessId(id[0], self.registry.node, id[1])

    def _free(self, ids: list[tuple[str, str]]) -> bool:
        return not any(self.registry.lookup(self._id(id)) for id in ids)

    def _register(self, id: tuple[str, str], owner: int, given: dict[str, Any], pids: list[int]) -> None:
        if self._free([id]):
            self.registry.register(self._id(id), _pid(owner, pids), **given)

    def _register_many(self, many: list[tuple[str, str]], owner: int, given: MetadataKeywords, pids: list[int]) -> None:
        if self._free(many):
            self.registry.register_many([(self._id(id), given) for id in many], _pid(owner, pids))

    def _update(self, id: tuple[str, str], given: dict[str, Any], pids: list[int]) -> None:
        if not self._free([id]):
            self.registry.update(self._id(id), **given)

    def _update_health(self, id: tuple[str, str], status: HealthStatus, pids: list[int]) -> None:
        if not self._free([id]):
            self.registry.update_health(self._id(id), status)

    def _heartbeat(self, id: tuple[str, str], pids: list[int]) -> None:
        entry = self.registry.lookup(self._id(id))
        if entry is not None and entry.pid == os.getpid():
            self.registry.heartbeat(self._id(id))

    def _unregister(self, id: tuple[str, str], pids: list[int]) -> None:
        self.registry.unregister(self._id(id))

    def _hand_over(self, id: tuple[str, str], owner: int, pids: list[int]) -> None:
        if self._free([id]):
            self.registry.register(self._id(id)).hand_over(_pid(owner, pids))

    def _kill_registrar(self, pids: list[int]) -> None:
        kill_registrar(self.registry.folder)

    def watched(self, since: int, **conditions: Any) -> tuple[State, list[Event]]:
        """Snapshot and events of a watch since a revision."""
        with self.registry.watch(since=since, **conditions) as watch:
            events = []
            try:
                while True:
                    events.append(watch.next(0))
            except Timeout:
                return {entry.process_id: entry for entry in watch.snapshot}, events


def _pid(owner: int, pids: list[int]) -> int:
    return pids[owner] if owner < len(pids) else os.getpid()


class Matching(NamedTuple):
    """Conditions, and the part of a state that matches them."""

    conditions: dict[str, Any]

    def part(self, state: dict[str, State]) -> State:
        wanted = self.conditions
        return {
            id: entry
            for id, entry in state[wanted.get("namespace", "default")].items()
            if wanted.get("capability", frozenset()) <= entry.metadata.capabilities
            and entry.metadata.health_status == wanted.get("health_status", entry.metadata.health_status)
            and entry.metadata.type == wanted.get("type", entry.metadata.type)
        }


def outlines(state: State) -> dict[ProcessId, Any]:
    """A state without the times of heartbeats, which are no changes."""
    return {
        id: (entry.revision, entry.incarnation, entry.owner, entry.health_source, _without_check(entry))
        for id, entry in state.items()
    }


def _without_check(entry: Entry) -> list[object]:
    names = entry.metadata.__struct_fields__
    return [getattr(entry.metadata, name) for name in names if name != "last_health_check"]


def replayed(state: State, events: list[Event]) -> Iterator[tuple[int, State]]:
    """The states after each event, with its revision; an event that does not fit raises."""
    state = dict(state)
    for event in events:
        entry = event.entry
        assert entry is not None, "a lagged event, though the history holds everything"
        id, before = entry.process_id, state.get(entry.process_id)
        assert (before is None) == (event.kind == "registered"), (event, before)
        if before is not None:
            shown = entry if event.kind == "died" or event.previous is None else event.previous
            assert outlines({id: before}) == outlines({id: shown}), (event, before)
        if event.kind in ("registered", "updated"):
            state[id] = entry
        else:
            del state[id]
        yield event.revision, dict(state)


@pytest.fixture
def pids() -> Iterator[list[int]]:
    with sleepers(3) as processes:
        yield [process.pid for process in processes]


HISTORIES = settings(
    max_examples=150,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@HISTORIES
@given(asks=asks)
def test_every_later_state_can_be_had_from_every_earlier_one(
    registry: Registry, pids: list[int], asks: list[Ask]
) -> None:
    """From each revision on: the snapshot is the state at that revision, there is one event for each revision after
    it, and after each of them the state is what was seen then."""
    world = World(registry)
    for ask in asks:
        world.ask(ask, pids)
    newest = max(world.states)
    for since in range(world.began, newest + 1):
        for namespace in ("default", "other"):
            snapshot, events = world.watched(since, namespace=namespace)
            states = {since: snapshot, **dict(replayed(snapshot, events))}
            for revision, seen in world.states.items():
                if revision >= since:
                    latest = max(known for known in states if known <= revision)
                    assert outlines(states[latest]) == outlines(seen[namespace]), (since, revision)
        everything = [event for one in ("default", "other") for event in world.watched(since, namespace=one)[1]]
        assert sorted(event.revision for event in everything) == list(range(since + 1, newest + 1))


@HISTORIES
@given(asks=asks, conditions=conditions)
def test_every_later_selection_can_be_had_from_every_earlier_one(
    registry: Registry, pids: list[int], asks: list[Ask], conditions: dict[str, Any]
) -> None:
    """The same holds under any conditions: an entry that starts to match is registered, one that stops is
    unregistered, and one that matches before and after is updated."""
    world, matching = World(registry), Matching(conditions)
    for ask in asks:
        world.ask(ask, pids)
    for since in range(world.began, max(world.states) + 1):
        snapshot, events = world.watched(since, **conditions)
        states = {since: snapshot, **dict(replayed(snapshot, events))}
        assert [event.revision for event in events] == sorted({event.revision for event in events})
        for revision, seen in world.states.items():
            if revision >= since:
                latest = max(known for known in states if known <= revision)
                assert outlines(states[latest]) == outlines(matching.part(seen)), (since, revision)


@settings(HISTORIES, max_examples=30)
@given(asks=asks, deaths=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
def test_deaths_are_in_the_history(registry: Registry, asks: list[Ask], deaths: list[int]) -> None:
    """A death in between is in the history as `died`, for all entries of the process together."""
    with sleepers(3) as processes:
        pids = [process.pid for process in processes]
        world = World(registry)
        for place, ask in enumerate(asks):
            world.ask(ask, pids)
            if place % 5 == 4 and deaths:
                dying = processes[deaths.pop()]
                dying.kill()
                dying.wait()
                pids[pids.index(dying.pid)] = os.getpid()
                eventually(lambda pid=dying.pid: not _owned(registry, pid))  # type: ignore[misc]
                world._look()
        newest = max(world.states)
        for since in range(world.began, newest + 1):
            snapshot, events = world.watched(since)
            states = {since: snapshot, **dict(replayed(snapshot, events))}
            assert outlines(states[max(states)]) == outlines(world.states[newest]["default"])
            died = [event.entry.pid for event in events if event.kind == "died" and event.entry]
            assert not set(died) & set(pids)


def _owned(registry: Registry, pid: int) -> bool:
    """Whether the tables still hold an entry of a process."""
    for namespace in ("default", "other"):
        with registry.watch(namespace=namespace) as watch:
            if any(entry.pid == pid for entry in watch.snapshot):
                return True
    return False
