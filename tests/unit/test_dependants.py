"""Dependants: which processes are watched for them, and which are released. The engine alone, over a fake kernel."""

from __future__ import annotations

from datetime import UTC, datetime

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Death, Decision, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import Record, key_of
from adsum._validation import MetadataFields
from adsum.model import EPOCH, Entry, Limits, Metadata, Owner, OwningMember, ProcessId
from tests.support.engine import FakeKernel, FakeView

SECOND = 10**9
NOON = Instant(datetime(2026, 1, 1, 12, tzinfo=UTC), SECOND)
PLANNER, TOOL, OTHER = (Owner(number, number, number) for number in (1, 2, 3))


def named(local_id: str) -> ProcessId:
    return ProcessId("default", "n", local_id)


def owning(local_id: str, incarnation: int, owner: Owner) -> OwningMember:
    return OwningMember(named(local_id), incarnation, *owner)


def member(local_id: str, incarnation: int, owner: Owner, owned_by: OwningMember | None = None) -> Record:
    entry = Entry(named(local_id), *owner, incarnation, EPOCH, EPOCH, incarnation, Metadata(), owned_by=owned_by)
    return Record(entry)


def register(local_id: str, owner: Owner, owned_by: OwningMember, number: int = 1) -> Call:
    request = wire.RegisterOwned(owned_by, owner=owner, items=[(named(local_id), MetadataFields())])
    return Call(b"session", number, 2 * SECOND, request, owner)


def ask(request: wire.AnyRequest, number: int = 1) -> Call:
    return Call(b"other", number, 2 * SECOND, request, OTHER)


class Registrar:
    """The engine with its memory, and the tables that its decisions make."""

    def __init__(self, *records: Record) -> None:
        self.records = {key_of(record.entry.process_id): record for record in records}
        self.dead: set[Owner] = set()
        self.engine = Engine(Limits(), FakeKernel(self.dead), Memory(), "n")
        for key, record in self.records.items():
            self.engine.memory.dependants.inherit(key, record.entry)

    def decide(self, *calls: Call, deaths: tuple[Owner, ...] = ()) -> Decision:
        """Decide one batch, and commit it."""
        self.dead.update(deaths)
        view = FakeView(list(self.records.values()))
        batch = Batch([Death(owner, SECOND) for owner in deaths], [], calls)
        decision = self.engine.decide(view, batch, NOON)
        assert self.engine.decide(view, batch, NOON) == decision, "deciding has a lasting effect"
        for change in decision.changes:
            if change.after is None:
                del self.records[change.key]
            else:
                self.records[change.key] = change.after
        self.engine.memory.dependants.follow(decision.changes)
        return decision

    def names(self) -> list[str]:
        return sorted(record.entry.process_id.local_id for record in self.records.values())


def test_the_process_of_an_owner_is_watched() -> None:
    """The owner is watched from the batch on in which it gets its first dependant, be it registered or not."""
    registrar = Registrar()
    decision = registrar.decide(register("tool", TOOL, owning("planner", 7, PLANNER)))
    assert set(decision.watched) == {TOOL, PLANNER}
    assert not decision.released


def test_an_unregistered_owner_stays_watched() -> None:
    """An owner that is unregistered is watched on for its dependants, and released with the last of them."""
    owned_by = owning("planner", 1, PLANNER)
    registrar = Registrar(
        member("planner", 1, PLANNER), member("a", 2, TOOL, owned_by), member("b", 3, OTHER, owned_by)
    )
    assert not registrar.decide(ask(wire.Unregister(process_id=named("planner")))).released
    assert list(registrar.decide(ask(wire.Unregister(process_id=named("a")))).released) == [TOOL]
    assert set(registrar.decide(ask(wire.Unregister(process_id=named("b")))).released) == {OTHER, PLANNER}


def test_an_owner_with_an_entry_of_its_own_stays_watched() -> None:
    """The end of the last dependant does not release an owner that is registered itself."""
    registrar = Registrar(member("planner", 1, PLANNER), member("a", 2, TOOL, owning("planner", 1, PLANNER)))
    assert list(registrar.decide(ask(wire.Unregister(process_id=named("a")))).released) == [TOOL]


def test_a_death_and_a_registration_in_one_batch() -> None:
    """A registration that comes with the death of its owner in one batch is refused; the other dependants end."""
    owned_by = owning("planner", 1, PLANNER)
    registrar = Registrar(member("planner", 1, PLANNER), member("a", 2, TOOL, owned_by))
    decision = registrar.decide(register("b", TOOL, owned_by), deaths=(PLANNER,))
    (reply,) = decision.replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == "dead_process"
    assert registrar.names() == []
    assert [departure.how for _, departure in decision.departures] == ["died", "owner_died"]


def test_a_dependant_of_the_same_batch_ends_with_a_death_that_a_request_finds() -> None:
    """An entry that this batch registered ends with its owner, where a later request of the batch finds that dead."""
    registrar = Registrar(member("planner", 1, PLANNER))
    taken = wire.Register(owner=OTHER, items=[(named("planner"), MetadataFields())])
    # The kernel is asked at each request: it says first that the owner lives, and then that it does not.
    kernel = FakeKernel(dies_after={PLANNER: 1})
    registrar.engine = Engine(Limits(), kernel, Memory(), "n")
    batch = Batch([], [], [register("a", TOOL, owning("planner", 1, PLANNER)), ask(taken, 2)])
    decision = registrar.engine.decide(FakeView(list(registrar.records.values())), batch, NOON)
    assert [departure.how for _, departure in decision.departures] == ["replaced", "owner_died"]
    assert [entry.process_id.local_id for entry in _left(decision)] == ["planner"]
    assert PLANNER in decision.released or PLANNER not in decision.watched


def _left(decision: Decision) -> list[Entry]:
    left: dict[bytes, Entry] = {}
    for change in decision.changes:
        if change.after is None:
            left.pop(change.key, None)
        else:
            left[change.key] = change.after.entry
    return list(left.values())


def test_a_hand_over_watches_the_new_process() -> None:
    """A hand-over of the owner moves its dependants in the same batch; the old process is released."""
    registrar = Registrar(member("planner", 1, PLANNER), member("a", 2, TOOL, owning("planner", 1, PLANNER)))
    decision = registrar.decide(
        ask(wire.HandOver(process_id=named("planner"), owner=OTHER, if_incarnation=1, gauges={}))
    )
    assert list(decision.released) == [PLANNER]
    assert OTHER in decision.watched
    assert not registrar.decide(deaths=(PLANNER,)).changes
    registrar.decide(deaths=(OTHER,))
    assert registrar.names() == []


def test_only_what_the_handed_over_entry_owns_goes_along() -> None:
    """A process may have two entries that own others; the hand-over of one leaves those of the other."""
    registrar = Registrar(
        member("planner", 1, PLANNER),
        member("critic", 2, PLANNER),
        member("a", 3, TOOL, owning("planner", 1, PLANNER)),
        member("b", 4, TOOL, owning("critic", 2, PLANNER)),
    )
    registrar.decide(ask(wire.HandOver(process_id=named("planner"), owner=OTHER, if_incarnation=1, gauges={})))
    registrar.decide(deaths=(PLANNER,))
    assert registrar.names() == ["a", "planner"]


def test_a_hostile_owning_member() -> None:
    """An owner whose id is no id is refused: the registrar trusts no client."""
    registrar = Registrar()
    for id in (ProcessId("", "n", "x"), ProcessId("default", "n", "x" * 1000), ProcessId("a", "b\0", "c")):
        owned_by = OwningMember(id, 1, *PLANNER)
        (reply,) = registrar.decide(register("tool", TOOL, owned_by)).replies
        assert isinstance(reply, wire.Failed)
        assert reply.reason == "invalid_process_id"
    (reply,) = registrar.decide(register("tool", TOOL, OwningMember(named("far"), 1, 0, 1, 1))).replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == "invalid_process_id"
