"""Reservations of the engine: ids whose holders register themselves anew because their folder is gone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adsum import Limits
from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Decision, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._engine.reservations import Reservation
from adsum._store.layout import Standby, key_of
from adsum._validation import parse_metadata
from adsum.model import Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

ID = ProcessId("default", "here", "leader")
KEY = key_of(ID)
HOLDER, OTHER = Owner(1, 1, 1), Owner(2, 2, 2)
UNTIL = 1_000
FIELDS = parse_metadata({})
STANDBY = Standby(ID, OTHER, FIELDS, b"other", 1, 5)


def _decide(
    request: wire.AnyRequest | None = None,
    *,
    caller: Owner = OTHER,
    now: int = UNTIL - 1,
    holder_is_dead: bool = False,
    standbys: tuple[Standby, ...] = (),
) -> Decision:
    memory = Memory()
    memory.reservations.begin({KEY: Reservation(ID, HOLDER)}, UNTIL)
    engine = Engine(Limits(), FakeKernel([HOLDER] if holder_is_dead else []), memory, "here")
    calls = [] if request is None else [Call(b"session", 7, UNTIL * 10, request, caller)]
    batch = Batch(calls=calls, unreserves=request is None)
    decision = engine.decide(FakeView([], standbys), batch, Instant(datetime.now(UTC), now))
    memory.follow(decision)
    assert not (memory.reservations.by_key and (decision.changes or decision.unreserved))
    return decision


def _register(owner: Owner, *, or_get: bool = False) -> wire.Register:
    return wire.Register(owner=owner, items=[(ID, FIELDS)], or_get=or_get)


@pytest.mark.parametrize(("or_get", "reason"), [(False, "already_registered"), (True, "system_busy")])
def test_another_process_is_refused(or_get: bool, reason: str) -> None:
    """S1: a reserved id is not given to another process, and the refusal has the holder's pid."""
    (reply,) = _decide(_register(OTHER, or_get=or_get)).replies
    assert isinstance(reply, wire.Failed)
    assert reply.reason == reason
    assert "process 1, which registers itself anew" in reply.message


def test_a_standby_waits() -> None:
    """A process that stands by for a reserved id is queued."""
    decision = _decide(wire.StandBy(process_id=ID, owner=OTHER, fields=FIELDS))
    assert [type(reply) for reply in decision.replies] == [wire.Queued]
    assert [standby.owner for standby in decision.queued] == [OTHER]
    assert not decision.changes


@pytest.mark.parametrize(
    "given",
    [
        {"request": _register(HOLDER)},
        {"request": _register(OTHER), "caller": HOLDER},
        {"request": _register(OTHER), "holder_is_dead": True},
        {"request": _register(OTHER), "now": UNTIL},
    ],
    ids=["its owner", "given away by its owner", "its owner is dead", "its time is over"],
)
def test_a_reserved_id_is_granted(given: dict[str, object]) -> None:
    """The owner of a reservation gets the id, or gives it away; and every process does where the reservation is
    over."""
    decision = _decide(**given)  # type: ignore[arg-type]
    assert [type(reply) for reply in decision.replies] == [wire.Done]
    assert [change.key for change in decision.changes] == [KEY]


@pytest.mark.parametrize(
    "given",
    [
        {"now": UNTIL},
        {"holder_is_dead": True},
        {"request": wire.Unregister(process_id=ID), "caller": HOLDER},
        {"request": wire.UnregisterMany(items=[(ID, None)]), "caller": HOLDER},
    ],
    ids=["its time is over", "its owner is dead", "unregistered", "unregistered with others"],
)
def test_the_end_of_a_reservation_grants_the_id(given: dict[str, object]) -> None:
    """When a reservation ends without its owner, the first standby gets the id."""
    decision = _decide(standbys=(STANDBY,), **given)  # type: ignore[arg-type]
    assert [grant.standby for grant in decision.grants] == [STANDBY]
    assert decision.unreserved == [KEY]


def test_a_reservation_lasts() -> None:
    """The look at reservations ends none whose owner lives and whose time is not over."""
    decision = _decide(standbys=(STANDBY,))
    assert not decision.grants
    assert not decision.unreserved
