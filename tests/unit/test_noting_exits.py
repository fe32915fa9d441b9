"""How the engine notes exits: the engine alone, over a fake kernel."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Death, Decision, Exit, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import Record, decode_departure, encode
from adsum.model import EPOCH, Departure, Entry, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

NOW = Instant(datetime(2026, 1, 1, tzinfo=UTC), 10**9)
LATE = 2 * 10**9
DEAD, ALIVE = Owner(1, 1, 1), Owner(2, 2, 2)


def entry_of(owner: Owner, local_id: str, incarnation: int) -> Entry:
    return Entry(ProcessId("default", "n", local_id), *owner, incarnation, EPOCH, EPOCH, incarnation, Metadata())


RECORDS = [Record(entry_of(DEAD, "a", 1)), Record(entry_of(DEAD, "b", 2)), Record(entry_of(ALIVE, "c", 3))]


def exit_of(owner: Owner, code: int, number: int = 1) -> Call:
    return Call(b"session", number, LATE, wire.ExitOf(owner=owner, code=code))


def decide(batch: Batch, view: FakeView | None = None) -> Decision:
    return Engine(Limits(), FakeKernel({DEAD}), Memory()).decide(view or FakeView(RECORDS), batch, NOW)


def exits(decision: Decision) -> list[tuple[str, int | None]]:
    return [(departure.entry.process_id.local_id, departure.exit) for _, departure in decision.departures]


@pytest.mark.parametrize(
    "batch",
    [
        Batch(calls=[exit_of(DEAD, 3)]),
        Batch(deaths=[Death(DEAD, NOW.monotonic - 5)], calls=[exit_of(DEAD, 3)]),
        Batch(deaths=[Death(DEAD, NOW.monotonic - 5)], exits=[Exit(DEAD, 3)]),
        Batch(deaths=[Death(DEAD, NOW.monotonic - 5)], calls=[exit_of(DEAD, 3), exit_of(DEAD, 4, 2)]),
        Batch(calls=[exit_of(DEAD, 3)], exits=[Exit(DEAD, 4)]),
    ],
)
def test_death_and_exit_in_one_batch(batch: Batch) -> None:
    """A death and its exit in one batch make departures with the exit; the first of several exits counts."""
    decision = decide(batch)
    assert exits(decision) == [("a", 3), ("b", 3)]
    assert all(departure.detection > 0 for _, departure in decision.departures)
    assert not decision.amended
    done = [isinstance(reply, wire.Done) and reply.changed for reply in decision.replies]
    assert done == [True, False][: len(done)]


def departed(owner: Owner, how: str, revision: int, exit: int | None = None) -> tuple[int, Departure]:
    return revision, Departure(entry_of(owner, str(revision), 1), how, EPOCH, 0.1, exit)


@pytest.mark.parametrize("batch", [Batch(calls=[exit_of(DEAD, -9)]), Batch(exits=[Exit(DEAD, -9), Exit(DEAD, 1)])])
def test_stored_departures_are_amended(batch: Batch) -> None:
    """Departures by the death of this very process that lack an exit get it; all others stay as they are."""
    stored = [
        departed(DEAD, "died", 4),
        departed(DEAD, "replaced", 5),
        departed(DEAD, "unregistered", 6),
        departed(DEAD, "handed_over", 7),
        departed(DEAD, "died", 8, 0),
        departed(ALIVE, "died", 9),
    ]
    decision = decide(batch, FakeView([], departures=stored))
    assert [(revision, one.how, one.exit) for revision, one in decision.amended] == [
        (4, "died", -9),
        (5, "replaced", -9),
    ]
    assert decision.writes
    assert not decision.changes


def test_no_exit_of_a_living_process() -> None:
    """A request about a process that the kernel says is alive changes nothing."""
    decision = decide(Batch(calls=[exit_of(ALIVE, 1)]))
    assert (decision.replies, decision.writes) == ([wire.Done(1, [], changed=False)], False)


def test_a_departure_of_an_older_version_has_no_exit() -> None:
    """A row without the field is read, and an older version reads a row with it."""
    _, departure = departed(DEAD, "died", 4, 3)
    fields = [departure.entry, departure.how, departure.at, departure.detection]
    assert decode_departure(encode(fields)).exit is None
    assert decode_departure(encode([*fields, 3, "of a later version"])) == departure
