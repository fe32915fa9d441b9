"""An id whose holder has died, before the death is reported: the engine alone, over a fake kernel."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Decision, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import Record
from adsum._validation import MetadataFields
from adsum.model import EPOCH, Entry, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

NOW = Instant(datetime(2026, 1, 1, tzinfo=UTC), 10**9)
DEAD, ALIVE, NEW = Owner(1, 1, 1), Owner(2, 2, 2), Owner(3, 3, 3)


LATE = 2 * 10**9


def held_by(owner: Owner, local_id: str, incarnation: int) -> Record:
    id = ProcessId("default", "n", local_id)
    return Record(Entry(id, *owner, incarnation, EPOCH, EPOCH, incarnation, Metadata()))


# Two entries of a dead owner, one of a live owner, at revision 3.
RECORDS = [held_by(DEAD, "a", 1), held_by(DEAD, "b", 2), held_by(ALIVE, "c", 3)]


def decide(request: wire.AnyRequest, dead: Collection[Owner] = ()) -> Decision:
    return Engine(Limits(), FakeKernel({DEAD}), Memory()).decide(
        FakeView(RECORDS), Batch(calls=[Call(b"session", 1, LATE, request)]), NOW, dead
    )


A = ProcessId("default", "n", "a")


@pytest.mark.parametrize("or_get", [False, True])
def test_the_holder_is_replaced_in_the_same_step(or_get: bool) -> None:
    """S1: registering a dead holder's id removes all that it owned, then registers, under consecutive revisions."""
    items = [(A, MetadataFields())]
    decision = decide(wire.Register(owner=ALIVE, items=items, or_get=or_get))
    (reply,) = decision.replies
    assert isinstance(reply, wire.Done)
    assert reply.changed
    assert [(change.revision, change.kind) for change in decision.changes] == [
        (4, "died"),
        (5, "died"),
        (6, "registered"),
    ]
    assert [(departure.how, departure.entry.process_id.local_id) for _, departure in decision.departures] == [
        ("replaced", "a"),
        ("replaced", "b"),
    ]
    assert (reply.entries[0].owner, reply.entries[0].incarnation) == (ALIVE, 6)
    assert decision.released == [DEAD]


def test_nothing_of_the_dead_can_be_changed() -> None:
    """An update of a dead holder's entry is `not_registered`, an unregistration finds nothing; both remove all its
    entries."""
    update = decide(wire.Update(process_id=A, fields=MetadataFields()))
    assert isinstance(update.replies[0], wire.Failed)
    assert update.replies[0].reason == "not_registered"
    unregister = decide(wire.Unregister(process_id=A))
    assert unregister.replies == [wire.Done(1, [], changed=False)]
    assert len(update.changes) == len(unregister.changes) == 2


@pytest.mark.parametrize("or_get", [False, True])
def test_a_decision_names_the_holder_that_may_be_ending(or_get: bool) -> None:
    """The engine waits for no process: it names the living holder, and decides again when its caller has seen the end
    of it. One that is dead already, and that of an id that is free, need no wait."""
    in_vain = wire.Register(owner=NEW, items=[(ProcessId("default", "n", "c"), MetadataFields())], or_get=or_get)
    first = decide(in_vain)
    assert (first.awaited, first.changes) == ([ALIVE], [])
    again = decide(in_vain, dead={ALIVE})
    assert again.awaited == []
    assert [(departure.how, departure.entry.owner) for _, departure in again.departures] == [("replaced", ALIVE)]
    (reply,) = again.replies
    assert isinstance(reply, wire.Done)
    assert reply.entries[0].owner == NEW
    for local_id in ("a", "free"):
        items = [(ProcessId("default", "n", local_id), MetadataFields())]
        assert decide(wire.Register(owner=NEW, items=items, or_get=or_get)).awaited == []
