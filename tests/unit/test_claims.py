"""Claims: which member's slot a claimer gets, and who gets a freed one. The engine alone, over a fake kernel."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Death, Decision, EndedSession, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._registrar.splitting import needs_room
from adsum._store.layout import Record, key_of
from adsum._validation import MetadataFields
from adsum.model import EPOCH, ClaimRecord, Entry, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

SECOND = 10**9
NOON = Instant(datetime(2026, 1, 1, 12, tzinfo=UTC), SECOND)
MEMBER, ONE, TWO, THREE = (Owner(number, number, number) for number in (1, 2, 3, 4))


def named(local_id: str) -> ProcessId:
    return ProcessId("default", "n", local_id)


def member(local_id: str, incarnation: int, *held: tuple[Owner, int], slots: int | None = None) -> Record:
    claims = tuple(ClaimRecord(number, *owner, EPOCH) for owner, number in held)
    metadata = Metadata(slots=slots)
    entry = Entry(named(local_id), *MEMBER, incarnation, EPOCH, EPOCH, incarnation, metadata, claims=claims)
    return Record(entry)


def claim(owner: Owner, number: int, id: str | None = None, **fields: Any) -> Call:
    process_id = None if id is None else named(id)
    request = wire.Claim(owner=owner, number=number, namespace="default", process_id=process_id, **fields)
    return Call(session_of(owner), number, 2 * SECOND, request, owner)


def release(owner: Owner, number: int) -> Call:
    return Call(session_of(owner), number + 100, 2 * SECOND, wire.Release(owner=owner, number=number), owner)


def ask(request: wire.AnyRequest) -> Call:
    return Call(b"other", 1, 2 * SECOND, request, MEMBER)


def session_of(owner: Owner) -> bytes:
    return f"session of {owner.pid}".encode()


class Registrar:
    """The engine with its memory, and the tables that its decisions make."""

    def __init__(self, *records: Record) -> None:
        self.records = {key_of(record.entry.process_id): record for record in records}
        self.dead: set[Owner] = set()
        self.engine = Engine(Limits(), FakeKernel(self.dead), Memory(), "n")
        for key, record in self.records.items():
            self.engine.memory.claimers.inherit(key, record.entry)

    def decide(self, *calls: Call, deaths: tuple[Owner, ...] = (), ended: tuple[Owner, ...] = ()) -> Decision:
        """Decide one batch, and commit it."""
        self.dead.update(deaths)
        view = FakeView(list(self.records.values()))
        sessions = [EndedSession(owner, session_of(owner)) for owner in ended]
        batch = Batch([Death(owner, SECOND) for owner in deaths], sessions, calls)
        decision = self.engine.decide(view, batch, NOON)
        again = self.engine.decide(view, batch, NOON)
        assert again == decision, "deciding has a lasting effect"
        for change in decision.changes:
            if change.after is None:
                del self.records[change.key]
            else:
                self.records[change.key] = change.after
        self.engine.memory.claimers.follow(decision.changes, decision.joined, decision.left)
        for record in self.records.values():
            assert len(record.entry.claims) <= (record.entry.metadata.slots or 1)
        return decision

    def held(self) -> dict[str, list[int]]:
        """The claims of each member, by their numbers."""
        return {
            record.entry.process_id.local_id: [one.number for one in record.entry.claims]
            for record in self.records.values()
        }


def given(decision: Decision) -> list[str | None]:
    """The members whose slots the calls of a batch got; None for a claim that waits or got none."""
    return [
        reply.entries[0].process_id.local_id if isinstance(reply, wire.Done) and reply.entries else None
        for reply in decision.replies
    ]


def granted(decision: Decision) -> list[tuple[int, str]]:
    """The requests that got a late reply, and what it is."""
    return [
        (grant.standby.number, grant.reply.reason if isinstance(grant.reply, wire.Failed) else "held")
        for grant in decision.grants
    ]


def test_the_fewest_claims_and_then_in_turn() -> None:
    """A claim gets a member with the fewest claims; equals are taken in turn, over batches and inside one."""
    registrar = Registrar(
        member("a", 1, (ONE, 90), slots=3), member("b", 2, slots=3), member("c", 3, (ONE, 91), slots=3)
    )
    assert given(registrar.decide(claim(TWO, 1), claim(TWO, 2))) == ["b", "c"]
    assert given(registrar.decide(claim(TWO, 3))) == ["a"]
    assert given(registrar.decide(claim(TWO, 4))) == ["b"]
    assert given(registrar.decide(claim(TWO, 5), claim(TWO, 6), claim(TWO, 7))) == ["c", "a", "b"]


def test_a_slot_released_in_a_batch_goes_to_the_one_that_waited() -> None:
    """A claim that waits gets a slot before a claim that comes later, in the same batch as the release."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    assert isinstance(registrar.decide(claim(TWO, 2)).replies[0], wire.Queued)
    decision = registrar.decide(release(ONE, 1), claim(THREE, 3, may_wait=False))
    assert granted(decision) == [(2, "held")]
    assert given(decision)[1] is None
    assert registrar.held() == {"a": [2]}


@pytest.mark.parametrize("is_dead", [False, True], ids=["released", "dead"])
def test_conditions_do_not_matter_for_the_order(is_dead: bool) -> None:
    """A claim that waits for one id gets its slot before a later claim on any member, in the batch that frees it."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    registrar.decide(claim(TWO, 2, "a"))
    if is_dead:
        registrar.dead.add(ONE)
    calls = [claim(THREE, 3)] if is_dead else [release(ONE, 1), claim(THREE, 3)]
    assert granted(registrar.decide(*calls)) == [(2, "held")]
    assert registrar.held() == {"a": [2]}


def test_a_claim_that_begins_to_wait_may_be_granted_in_the_same_batch() -> None:
    """A claim that is queued in a batch gets a slot that a later request of the batch frees."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    decision = registrar.decide(claim(TWO, 2), release(ONE, 1))
    assert granted(decision) == [(2, "held")]
    assert registrar.held() == {"a": [2]}
    assert registrar.engine.memory.claimers.waiting == []


def test_a_death_ends_all_claims_of_its_process() -> None:
    """A claimer that is reported dead loses its slots, its place in the queue, and is watched no more."""
    registrar = Registrar(member("a", 1, (ONE, 1)), member("b", 2, (ONE, 2), (TWO, 3), slots=2))
    registrar.decide(claim(ONE, 4), claim(THREE, 5))
    decision = registrar.decide(deaths=(ONE,))
    assert granted(decision) == [(5, "held")]
    assert list(decision.released) == [ONE]
    assert list(decision.watched) == [MEMBER, THREE]
    assert sorted(number for numbers in registrar.held().values() for number in numbers) == [3, 5]


def test_a_dead_claimer_that_waits_is_skipped() -> None:
    """A slot is not given to a claimer that has died and is not reported yet."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    registrar.decide(claim(TWO, 2), claim(THREE, 3))
    registrar.dead.add(TWO)
    assert granted(registrar.decide(release(ONE, 1))) == [(3, "held")]


def test_a_slot_of_a_dead_claimer_is_free_at_once() -> None:
    """A claim that finds all slots taken gets that of a claimer that has died and is not reported yet; one that waits
    for another member of the dead claimer gets a slot in the same batch."""
    registrar = Registrar(member("a", 1, (ONE, 1)), member("b", 2, (ONE, 2)))
    registrar.decide(claim(TWO, 3, "b"))
    registrar.dead.add(ONE)
    decision = registrar.decide(claim(THREE, 4, "a"))
    assert (given(decision), granted(decision)) == (["a"], [(3, "held")])
    assert list(decision.released) == [ONE]


def test_a_release_needs_no_room() -> None:
    """A release is carried out where no page is left to write, as is all that frees room; a claim is not."""
    assert not needs_room(wire.Release(owner=ONE, number=1))
    assert needs_room(wire.Claim(owner=ONE, number=1, namespace="default"))


def test_an_ended_session_leaves_the_queue_and_keeps_slots() -> None:
    """The end of a session ends its claims that wait. A slot belongs to the process, which may live on."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    registrar.decide(claim(ONE, 2), claim(TWO, 3))
    registrar.decide(ended=(ONE,))
    assert registrar.held() == {"a": [1]}
    assert granted(registrar.decide(release(ONE, 1))) == [(3, "held")]


def test_a_claimer_without_slots_is_watched_no_more() -> None:
    """A claimer is watched from its first claim until its last release, unless it owns an entry."""
    registrar = Registrar(member("a", 1, slots=3))
    assert list(registrar.decide(claim(ONE, 1)).watched) == [MEMBER, ONE]
    assert not registrar.decide(claim(ONE, 2), claim(MEMBER, 3)).released
    assert not registrar.decide(release(ONE, 1)).released
    assert list(registrar.decide(release(ONE, 2)).released) == [ONE]
    assert not registrar.decide(release(MEMBER, 3)).released


def test_an_owner_that_holds_a_slot_stays_watched() -> None:
    """A process whose last entry goes is watched as long as it holds a slot of another member."""
    own = msgspec.structs.replace(member("own", 2).entry, pid=ONE.pid, start_time=2, pidfd_inode=2)
    registrar = Registrar(member("a", 1, (ONE, 1)), Record(own))
    decision = registrar.decide(ask(wire.Unregister(process_id=named("own"))))
    assert not decision.released
    assert list(registrar.decide(release(ONE, 1)).released) == [ONE]


def test_a_claim_that_is_asked_for_again_is_one_claim() -> None:
    """A claim whose number is held already is answered with it; one that waits keeps the position it brings."""
    registrar = Registrar(member("a", 1, slots=2))
    registrar.decide(claim(ONE, 1))
    again = registrar.decide(claim(ONE, 1))
    assert given(again) == ["a"]
    assert not again.writes
    registrar.decide(claim(ONE, 2), claim(ONE, 3, position=500), claim(TWO, 4, position=400))
    assert granted(registrar.decide(release(ONE, 1)))[0][0] == 4


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_an_unregistered_member_ends_the_wait_for_its_id(in_one_batch: bool) -> None:
    """A claim on one id fails when its member goes; where another process gets the id in the same batch it is held."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    registrar.decide(claim(TWO, 2, "a"))
    calls = [ask(wire.Unregister(process_id=named("a")))]
    if in_one_batch:
        calls.append(ask(wire.Register(owner=THREE, items=[(named("a"), MetadataFields())])))
    assert granted(registrar.decide(*calls)) == [(2, "held" if in_one_batch else "not_registered")]
    assert registrar.engine.memory.claimers.waiting == []


def test_a_release_that_finds_nothing() -> None:
    """A release without a claim, or of another process's claim, changes nothing."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    decision = registrar.decide(release(ONE, 9), release(TWO, 1))
    assert [reply.changed for reply in decision.replies if isinstance(reply, wire.Done)] == [False, False]
    assert not decision.writes


def test_a_claim_that_waits_can_be_released() -> None:
    """A release ends the wait of a claim, which gets no answer."""
    registrar = Registrar(member("a", 1, (ONE, 1)))
    registrar.decide(claim(TWO, 2))
    decision = registrar.decide(release(TWO, 2), release(ONE, 1))
    assert [reply.changed for reply in decision.replies if isinstance(reply, wire.Done)] == [True, True]
    assert (granted(decision), registrar.held()) == ([], {"a": []})


def test_a_heartbeat_in_the_same_batch_is_kept() -> None:
    """A claim in the batch of a heartbeat keeps the time of the heartbeat."""
    record = member("a", 1)
    late = msgspec.structs.replace(record.entry, metadata=Metadata(heartbeat=5.0))
    registrar = Registrar(Record(late))
    registrar.decide(ask(wire.Heartbeat(process_id=named("a"), owner=MEMBER)), claim(ONE, 1))
    entry = registrar.records[key_of(named("a"))].entry
    assert (entry.metadata.last_health_check, len(entry.claims)) == (NOON.utc, 1)


@pytest.mark.parametrize(
    "conditions",
    [
        {"capability": 5},
        {"health_status": "degraded"},
        {"ranges": 5},
        {"ranges": [[["custom"], 1]]},
        {"ranges": [[[], 1, 2]]},
        {"ranges": [[["custom", 5], 1, 2]]},
        {"ranges": [[["custom", "a"], "x", 2]]},
        {"ranges": [[["type", "a"], 1, 2]], "type": "agent"},
        {"custom": 7},
    ],
)
def test_conditions_that_no_client_checked(conditions: dict[str, Any]) -> None:
    """Conditions that make no query are refused in words, whatever a client sends."""
    (reply,) = Registrar(member("a", 1)).decide(claim(ONE, 1, conditions=conditions)).replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == "invalid_query"


def test_a_condition_of_a_later_version() -> None:
    """A condition that this registrar does not know is a difference of versions, which the answer says."""
    (reply,) = Registrar(member("a", 1)).decide(claim(ONE, 1, conditions={"mood": "x"})).replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == "version_mismatch"
    assert "adsum registrar --replace" in reply.message
