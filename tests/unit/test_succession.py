"""Succession: which standby gets a freed id. The engine alone, over a fake kernel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Death, Decision, EndedSession, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import Record, Standby
from adsum._validation import MetadataFields
from adsum.model import EPOCH, Entry, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

SECOND = 10**9
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOLDER, ONE, TWO, THREE = (Owner(number, number, number) for number in (1, 2, 3, 4))
A, B = ProcessId("default", "n", "a"), ProcessId("default", "n", "b")
NOTHING = MetadataFields()


def held(id: ProcessId = A, owner: Owner = HOLDER, incarnation: int = 1, session: bytes = b"") -> Record:
    return Record(Entry(id, *owner, incarnation, EPOCH, EPOCH, incarnation, Metadata()), session)


def session_of(owner: Owner) -> bytes:
    return f"session of {owner.pid}".encode()


def waits(owner: Owner, position: int, id: ProcessId = A) -> Standby:
    return Standby(id, owner, NOTHING, session_of(owner), 7, position)


def stand_by(owner: Owner, number: int = 7, id: ProcessId = A, position: int = 0) -> Call:
    request = wire.StandBy(process_id=id, owner=owner, fields=NOTHING, position=position)
    return Call(session_of(owner), number, 2 * SECOND, request, owner)


def ask(request: wire.AnyRequest, owner: Owner = THREE) -> Batch:
    return Batch(calls=[Call(session_of(owner), 1, 2 * SECOND, request, owner)])


def decide(
    batch: Batch,
    *waiting: Standby,
    dead: set[Owner] | None = None,
    records: tuple[Record, ...] = (held(),),
    utc: datetime = NOON,
) -> Decision:
    engine = Engine(Limits(), FakeKernel(dead or set()), Memory())
    return engine.decide(FakeView(records, waiting), batch, Instant(utc, SECOND))


def granted(decision: Decision) -> list[tuple[Owner, str]]:
    """The owners that got a grant, and the reply."""
    return [
        (grant.standby.owner, grant.reply.reason if isinstance(grant.reply, wire.Failed) else "held")
        for grant in decision.grants
    ]


def holders(decision: Decision) -> list[tuple[str, Owner]]:
    """Each change, with the owner of the entry after it, or before it where it ended."""
    changed = [(change.kind.value, change.after or change.before) for change in decision.changes]
    return [(kind, record.entry.owner) for kind, record in changed if record]


UNREGISTER = ask(wire.Unregister(process_id=A))
DEATH = Batch(deaths=[Death(HOLDER, 0)])
ENDED = Batch(ended=[EndedSession(HOLDER, b"threads")])


@pytest.mark.parametrize(
    ("batch", "kind"),
    [(UNREGISTER, "unregistered"), (DEATH, "died"), (ENDED, "unregistered")],
    ids=["asked", "death", "end"],
)
def test_the_change_that_frees_an_id_grants_it(batch: Batch, kind: str) -> None:
    """The successor's registration is in the same commit, directly after the change that freed the id."""
    decision = decide(batch, waits(ONE, 1), records=(held(session=b"threads"),))
    assert holders(decision) == [(kind, HOLDER), ("registered", ONE)]
    assert granted(decision) == [(ONE, "held")]
    assert [one.owner for one in decision.dequeued] == [ONE]


def test_the_dead_are_skipped() -> None:
    """A dead standby is skipped and gets no answer, also before its death was reported; it is not watched."""
    decision = decide(DEATH, waits(ONE, 1), waits(TWO, 2), waits(THREE, 3), dead={HOLDER, ONE, TWO})
    assert holders(decision) == [("died", HOLDER), ("registered", THREE)]
    assert granted(decision) == [(THREE, "held")]
    assert (decision.watched, decision.released) == ([THREE], [HOLDER])


@pytest.mark.parametrize("or_get", [False, True])
def test_a_registration_that_finds_the_holder_dead_does_not_overtake(or_get: bool) -> None:
    """A registration that comes before the death is reported finds the successor, not a free id: the decision of the
    engine alone, for both calls that register."""
    register = wire.Register(owner=THREE, items=[(A, NOTHING)], or_get=or_get)
    decision = decide(ask(register), waits(ONE, 1), dead={HOLDER})
    assert holders(decision) == [("died", HOLDER), ("registered", ONE)]
    (reply,) = decision.replies
    assert isinstance(reply, wire.Done if or_get else wire.Failed)
    successor = reply.entries[0] if isinstance(reply, wire.Done) else getattr(reply, "entry", None)
    assert successor is not None
    assert successor.owner == ONE


def test_a_standby_for_a_dead_holder_comes_last() -> None:
    """A standby that finds the holder dead is queued behind the successor."""
    decision = decide(Batch(calls=[stand_by(THREE)]), waits(ONE, 1), waits(TWO, 2), dead={HOLDER})
    assert holders(decision) == [("died", HOLDER), ("registered", ONE)]
    (queued,) = decision.queued
    assert decision.replies == [wire.Queued(7, queued.position)]
    assert [(one.owner, one.position > 2) for one in decision.queued] == [(THREE, True)]


def test_one_process_frees_many() -> None:
    """A death frees all that the process held; each id goes to its own standby."""
    records = (held(A, HOLDER, 1), held(B, HOLDER, 2))
    decision = decide(DEATH, waits(ONE, 1, B), waits(TWO, 2, A), records=records)
    assert holders(decision) == [("died", HOLDER), ("died", HOLDER), ("registered", TWO), ("registered", ONE)]
    assert [change.revision for change in decision.changes] == [3, 4, 5, 6]


def test_an_ended_session_is_granted_nothing() -> None:
    """The standby of a session that ends in the moment in which the holder dies ends first."""
    decision = decide(replace(DEATH, ended=[EndedSession(ONE, session_of(ONE))]), waits(ONE, 1), waits(TWO, 2))
    assert holders(decision) == [("died", HOLDER), ("registered", TWO)]


def test_another_session_cannot_cancel_a_standby() -> None:
    """A cancellation that names the number of another session's standby changes nothing."""
    cancel = Call(session_of(THREE), 8, 2 * SECOND, wire.Cancel(stand_by=7), THREE)
    decision = decide(Batch(calls=[cancel, *UNREGISTER.calls]), waits(ONE, 1), waits(TWO, 2))
    assert decision.replies[0] == wire.Done(8, [], changed=False)
    assert holders(decision)[-1] == ("registered", ONE)


def test_a_repeated_request_keeps_its_position() -> None:
    """A standby whose registrar died asks the next one under the same number, and keeps its position."""
    decision = decide(Batch(calls=[stand_by(ONE), stand_by(ONE, 8), stand_by(ONE, 8)]), waits(ONE, 1), waits(TWO, 2))
    (queued,) = decision.queued
    assert queued.number == 8
    assert decision.replies == [wire.Queued(7, 1), wire.Queued(8, queued.position), wire.Queued(8, queued.position)]


def test_a_former_position_counts() -> None:
    """A standby of a registry that is gone takes its former position again, before later ones; one that is taken is the
    next free one."""
    again = [stand_by(ONE, 8, position=50), stand_by(TWO, 9, position=50)]
    decision = decide(Batch(calls=again), waits(THREE, 60))
    assert decision.replies == [wire.Queued(8, 50), wire.Queued(9, 51)]


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_positions_do_not_depend_on_the_wall_clock(hours: int) -> None:
    """They come from the monotonic clock; those of the same instant are in the order of their requests."""
    batch = Batch(calls=[stand_by(THREE), stand_by(ONE), stand_by(TWO)])
    decision = decide(batch, utc=NOON + timedelta(hours=hours))
    assert [(one.owner, one.position) for one in decision.queued] == [
        (THREE, SECOND),
        (ONE, SECOND + 1),
        (TWO, SECOND + 2),
    ]
    behind = decide(batch, waits(HOLDER, 5 * SECOND), records=(held(owner=Owner(9, 9, 9)),))
    assert [one.position for one in behind.queued] == [5 * SECOND + number for number in (1, 2, 3)]
