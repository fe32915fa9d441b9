"""Succession: which standby gets a freed id. The engine alone, over a fake kernel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Death, Decision, EndedSession, Instant
from adsum._engine.engine import Engine
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


def waits(owner: Owner, position: int, id: ProcessId = A, fields: MetadataFields = NOTHING) -> Standby:
    return Standby(id, owner, fields, session_of(owner), 7, position)


def stand_by(owner: Owner, number: int = 7, id: ProcessId = A) -> Call:
    request = wire.StandBy(process_id=id, owner=owner, fields=NOTHING)
    return Call(session_of(owner), number, 2 * SECOND, request, owner)


def ask(request: wire.AnyRequest, owner: Owner = THREE) -> Batch:
    return Batch(calls=[Call(session_of(owner), 1, 2 * SECOND, request, owner)])


def decide(
    batch: Batch,
    *waiting: Standby,
    dead: set[Owner] | None = None,
    records: tuple[Record, ...] = (held(),),
    limits: Limits | None = None,
    utc: datetime = NOON,
) -> Decision:
    engine = Engine(limits or Limits(), FakeKernel(dead or set()))
    return engine.decide(FakeView(records, waiting), batch, Instant(utc, SECOND))


def granted(decision: Decision) -> list[tuple[Owner, str]]:
    """The owners that got a grant, and the reply."""
    return [
        (grant.standby.owner, grant.reply.reason if isinstance(grant.reply, wire.Failed) else "held")
        for grant in decision.grants
    ]


def holders(decision: Decision) -> list[tuple[str, Owner]]:
    """Each change, with the owner of the entry after it, or before it where it ended."""
    stood = [(change.kind.value, change.after or change.before) for change in decision.changes]
    return [(kind, record.entry.owner) for kind, record in stood if record]


UNREGISTER = ask(wire.Unregister(process_id=A))
DEATH = Batch(deaths=[Death(HOLDER, 0)])
ENDED = Batch(ended=[EndedSession(HOLDER, b"threads")])


@pytest.mark.parametrize(
    ("batch", "kind"),
    [(UNREGISTER, "unregistered"), (DEATH, "died"), (ENDED, "unregistered")],
    ids=["asked", "death", "end"],
)
def test_a_freed_id_goes_to_the_first(batch: Batch, kind: str) -> None:
    """In the same commit, whatever freed it; the standbys behind keep their positions."""
    record = held(session=b"threads")
    decision = decide(batch, waits(ONE, 1), waits(TWO, 2), records=(record,))
    assert holders(decision) == [(kind, HOLDER), ("registered", ONE)]
    assert granted(decision) == [(ONE, "held")]
    assert [one.owner for one in decision.dequeued] == [ONE]


def test_the_dead_are_skipped() -> None:
    """A dead standby is skipped and gets no answer, also before its death was reported; it is not watched."""
    decision = decide(DEATH, waits(ONE, 1), waits(TWO, 2), waits(THREE, 3), dead={HOLDER, ONE, TWO})
    assert holders(decision) == [("died", HOLDER), ("registered", THREE)]
    assert granted(decision) == [(THREE, "held")]
    assert (decision.watched, decision.released) == ([THREE], [HOLDER])


def test_without_a_live_standby_the_id_is_free() -> None:
    """When all standbys have died the id is free."""
    decision = decide(DEATH, waits(ONE, 1), dead={HOLDER, ONE})
    assert holders(decision) == [("died", HOLDER)]
    assert granted(decision) == []


@pytest.mark.parametrize("or_get", [False, True])
def test_a_registration_that_finds_the_holder_dead_does_not_overtake(or_get: bool) -> None:
    """A registration that comes before the death is reported finds the heir, not a free id."""
    register = wire.Register(owner=THREE, items=[(A, NOTHING)], or_get=or_get)
    decision = decide(ask(register), waits(ONE, 1), dead={HOLDER})
    assert holders(decision) == [("died", HOLDER), ("registered", ONE)]
    (reply,) = decision.replies
    assert isinstance(reply, wire.Done if or_get else wire.Failed)
    heir = reply.entries[0] if isinstance(reply, wire.Done) else getattr(reply, "entry", None)
    assert heir is not None
    assert heir.owner == ONE


def test_a_standby_for_a_dead_holder_comes_last() -> None:
    """A standby that finds the holder dead is queued behind the heir."""
    decision = decide(Batch(calls=[stand_by(THREE)]), waits(ONE, 1), waits(TWO, 2), dead={HOLDER})
    assert holders(decision) == [("died", HOLDER), ("registered", ONE)]
    assert decision.replies == [wire.Queued(7)]
    assert [(one.owner, one.position > 2) for one in decision.queued] == [(THREE, True)]


def test_one_process_frees_many() -> None:
    """A death frees all that the process held; each id goes to its own standby."""
    records = (held(A, HOLDER, 1), held(B, HOLDER, 2))
    decision = decide(DEATH, waits(ONE, 1, B), waits(TWO, 2, A), records=records)
    assert holders(decision) == [("died", HOLDER), ("died", HOLDER), ("registered", TWO), ("registered", ONE)]
    assert [change.revision for change in decision.changes] == [3, 4, 5, 6]


def test_an_ended_session_is_granted_nothing() -> None:
    """The standby of a session that ends in the moment in which the holder dies ends first."""
    decision = decide(DEATH._replace(ended=[EndedSession(ONE, session_of(ONE))]), waits(ONE, 1), waits(TWO, 2))
    assert holders(decision) == [("died", HOLDER), ("registered", TWO)]


def test_a_canceled_standby_is_granted_nothing() -> None:
    """A standby is canceled by its own session, and by no other that names the same number."""
    cancel = wire.Cancel(stand_by=7)
    (unregister,) = UNREGISTER.calls
    for owner, heir, mine in ((ONE, TWO, True), (THREE, ONE, False)):
        batch = Batch(calls=[Call(session_of(owner), 8, 2 * SECOND, cancel, owner), unregister])
        decision = decide(batch, waits(ONE, 1), waits(TWO, 2))
        assert holders(decision)[-1] == ("registered", heir)
        assert decision.replies[0] == wire.Done(8, [], changed=mine)


def test_no_room_for_the_first() -> None:
    """A standby for which there is no room when its turn comes gets the error; the next one holds the id."""
    large = MetadataFields(custom={"ballast": "x" * 1000})
    decision = decide(
        DEATH, waits(ONE, 1, fields=large), waits(TWO, 2), limits=Limits(max_metadata_bytes=500), dead={HOLDER}
    )
    assert granted(decision) == [(ONE, "invalid_metadata"), (TWO, "held")]


def test_a_repeated_request_keeps_its_position() -> None:
    """A standby whose registrar died asks the next one under the same number, and keeps its position."""
    decision = decide(Batch(calls=[stand_by(ONE), stand_by(ONE, 8), stand_by(ONE, 8)]), waits(ONE, 1), waits(TWO, 2))
    assert decision.replies == [wire.Queued(7), wire.Queued(8), wire.Queued(8)]
    assert [one.number for one in decision.queued] == [8]


def test_to_stand_by_for_oneself() -> None:
    """A process that holds the id cannot succeed itself; it can succeed a thread inside it."""
    for session, queued in ((b"", False), (b"threads", True)):
        (reply,) = decide(Batch(calls=[stand_by(HOLDER)]), records=(held(session=session),)).replies
        assert isinstance(reply, wire.Queued) == queued


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
