"""Requests about several entries, and an owner that dies while one of them is decided: the engine alone."""

from __future__ import annotations

from datetime import UTC, datetime

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Decision, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import Record
from adsum._validation import MetadataFields
from adsum.model import EPOCH, Entry, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

NOW = Instant(datetime(2026, 1, 1, tzinfo=UTC), 10**9)
OWNER = Owner(1, 1, 1)
IDS = [ProcessId("default", "n", local_id) for local_id in "ab"]
RECORDS = [
    Record(Entry(id, *OWNER, number, EPOCH, EPOCH, number, Metadata(custom={"a": 1})))
    for number, id in enumerate(IDS, 1)
]


def decide(request: wire.AnyRequest, answers: int) -> Decision:
    engine = Engine(Limits(), FakeKernel(dies_after={OWNER: answers}), Memory(), "n")
    return engine.decide(FakeView(RECORDS), Batch(calls=[Call(b"session", 1, 2 * 10**9, request)]), NOW)


def test_an_owner_that_dies_between_two_ids_is_removed_whole() -> None:
    """S5: the owner is found alive for the first id and dead for the second. Nothing of it is updated: both entries
    are removed, and the request is refused."""
    decision = decide(wire.UpdateMany(items=[(id, MetadataFields(endpoint="x:1")) for id in IDS]), answers=1)
    (reply,) = decision.replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == "not_registered"
    assert [(change.revision, change.kind, change.after) for change in decision.changes] == [
        (3, "died", None),
        (4, "died", None),
    ]


def test_the_reply_to_a_removal_is_small() -> None:
    """The reply names the removed entries without their metadata, and an id without a node has the registry's own."""
    nodeless = IDS[1]._replace(node=wire.NODE_OF_REGISTRY)
    decision = decide(wire.UnregisterMany(items=[(IDS[0], 1), (nodeless, None), (IDS[0], None)]), answers=9)
    (reply,) = decision.replies
    assert isinstance(reply, wire.Done)
    assert [(entry.process_id, entry.metadata) for entry in reply.entries] == [(id, Metadata()) for id in IDS]
    assert [change.kind for change in decision.changes] == ["unregistered", "unregistered"]


def test_an_entry_of_another_incarnation_stays() -> None:
    """An incarnation that is given and is not the holder's leaves that entry alone."""
    decision = decide(wire.UnregisterMany(items=[(IDS[0], 7), (IDS[1], 2)]), answers=9)
    assert [change.key for change in decision.changes] == [b"default\0n\0b"]
