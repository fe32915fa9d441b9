"""Missed heartbeats: when they are noted, and how. Without waiting, over a fake kernel and clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum import _wire as wire
from adsum._engine.batch import Batch, Call, Decision, Instant
from adsum._engine.engine import Engine
from adsum._engine.heartbeats import RETRY_NS, Heartbeats, Lateness
from adsum._engine.memory import Memory
from adsum._store.layout import Change, Record, key_of
from adsum.model import Entry, HealthSource, HealthStatus, Kind, Limits, Metadata, Owner, ProcessId
from tests.support.engine import FakeKernel, FakeView

SECOND = 10**9
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEAD, ALIVE, OTHER = Owner(1, 1, 1), Owner(2, 2, 2), Owner(3, 3, 3)
A = ProcessId("default", "n", "a")
KEY = key_of(A)
DEGRADED, UNHEALTHY = HealthStatus.degraded, HealthStatus.unhealthy


def promise(
    every: float | None = 1.0, *, incarnation: int = 1, checked: datetime = NOON, owner: Owner = ALIVE, **fields: Any
) -> Record:
    """An entry that promises a heartbeat `every` so many seconds."""
    status = fields.pop("health_status", HealthStatus.healthy)
    metadata = Metadata(heartbeat=every, health_status=status, created_at=NOON, last_health_check=checked)
    return Record(Entry(A, *owner, incarnation, NOON, NOON, incarnation, metadata, **fields))


def changed(before: Record | None, after: Record | None) -> Change:
    return Change(Kind.updated, 9, KEY, before, after)


def promised(every: float = 1.0, at: int = 0) -> Heartbeats:
    """One promise was made, at this time."""
    heartbeats = Heartbeats(Limits())
    heartbeats.follow(changed(None, promise(every)), at)
    return heartbeats


def lates(heartbeats: Heartbeats, seconds: float) -> list[HealthStatus]:
    return [late.status for late in heartbeats.late(int(seconds * SECOND))]


# Times


def test_late_and_later() -> None:
    """After one and a half intervals it is degraded, after three unhealthy; each is noted once."""
    heartbeats = promised(2.0)
    assert heartbeats.next_due() == 3 * SECOND
    assert lates(heartbeats, 2.999) == []
    assert heartbeats.late(3 * SECOND) == [Lateness(KEY, 1, DEGRADED)]
    assert lates(heartbeats, 5.999) == []
    assert lates(heartbeats, 6) == [UNHEALTHY]
    assert lates(heartbeats, 1000) == []
    assert heartbeats.next_due() is None


def test_a_heartbeat_gives_time() -> None:
    """A heartbeat in time moves the deadline; after a late one both stages begin anew."""
    heartbeats = promised()
    heartbeats.received(1, SECOND)
    assert lates(heartbeats, 2.4) == []
    assert lates(heartbeats, 2.5) == [DEGRADED]
    heartbeats.received(1, 3 * SECOND)
    assert lates(heartbeats, 4.4) == []
    assert lates(heartbeats, 4.5) == [DEGRADED]
    assert lates(heartbeats, 6) == [UNHEALTHY]
    heartbeats.received(1, 7 * SECOND)
    assert lates(heartbeats, 8.5) == [DEGRADED]


def test_a_heartbeat_of_another_does_not_count() -> None:
    """A heartbeat is one incarnation's."""
    heartbeats = promised()
    heartbeats.received(2, SECOND)
    assert lates(heartbeats, 1.5) == [DEGRADED]


def test_long_after_it_is_noted_in_steps() -> None:
    """A registrar that was stopped meanwhile notes both stages, one after the other."""
    heartbeats = promised()
    assert lates(heartbeats, 100) == [DEGRADED, UNHEALTHY]
    assert lates(heartbeats, 200) == []


def test_a_lateness_that_could_not_be_committed_is_returned_again() -> None:
    """A status that could not be committed is late again in a moment."""
    heartbeats = promised()
    late = heartbeats.late(2 * SECOND)
    heartbeats.retry(late, 2 * SECOND)
    assert heartbeats.late(2 * SECOND) == []
    assert heartbeats.late(2 * SECOND + RETRY_NS) == late
    assert lates(heartbeats, 3) == [UNHEALTHY]


@pytest.mark.parametrize("after", [None, promise(None), promise(incarnation=2, owner=OTHER)])
def test_a_promise_ends(after: Record | None) -> None:
    """With its entry, when it is withdrawn, and when the id is handed over; a new holder's is its own."""
    heartbeats = promised()
    heartbeats.follow(changed(promise(), after), SECOND)
    assert heartbeats.late(2 * SECOND) == []
    assert len(heartbeats) == (after is not None and after.entry.metadata.heartbeat is not None)


@pytest.mark.parametrize("every", [None, 1000.0])
def test_a_promise_can_be_changed_when_it_is_late(every: float | None) -> None:
    """A late member that promises less, or nothing, from then on gets no worse."""
    heartbeats = promised()
    assert lates(heartbeats, 1.5) == [DEGRADED]
    late = promise(health_status=DEGRADED, health_source=HealthSource.registrar)
    heartbeats.follow(changed(promise(), late), 2 * SECOND)
    changed_promise = promise(every, health_status=DEGRADED, health_source=HealthSource.registrar)
    heartbeats.follow(changed(late, changed_promise), 2 * SECOND)
    assert lates(heartbeats, 100) == []


def test_a_change_that_is_no_heartbeat() -> None:
    """An update without a health status gives no time: the rule of `Heartbeats` alone."""
    heartbeats = promised()
    heartbeats.follow(changed(promise(), promise()), SECOND)
    assert lates(heartbeats, 1.5) == [DEGRADED]


@pytest.mark.parametrize(
    ("status", "source", "expected"),
    [
        (HealthStatus.healthy, HealthSource.process, [DEGRADED, UNHEALTHY]),
        (DEGRADED, HealthSource.process, [DEGRADED, UNHEALTHY]),
        (UNHEALTHY, HealthSource.other, [DEGRADED, UNHEALTHY]),
        (DEGRADED, HealthSource.registrar, [UNHEALTHY]),
        (UNHEALTHY, HealthSource.registrar, []),
    ],
)
def test_a_registrar_that_starts_gives_time(
    status: HealthStatus, source: HealthSource, expected: list[HealthStatus]
) -> None:
    """In `Heartbeats` alone, every member has its full time anew, and a stage that the last registrar noted is not
    noted twice."""
    heartbeats = Heartbeats(Limits())
    heartbeats.inherit(KEY, promise(health_status=status, health_source=source).entry, 100 * SECOND)
    assert lates(heartbeats, 101.4) == []
    said = [late for second in (101.5, 102.9, 103, 110, 120) for late in lates(heartbeats, second)]
    assert said == expected
    heartbeats.received(1, 120 * SECOND)
    assert lates(heartbeats, 121.5) == [DEGRADED]


def test_time_without_a_look_does_not_count() -> None:
    """While the registrar cannot look, at its sockets or at all, no deadline comes nearer."""
    heartbeats = promised()
    looked_each_tenth_of_a_second(heartbeats, 0, 10)
    heartbeats.look(5 * SECOND)
    assert lates(heartbeats, 5) == []
    assert heartbeats.next_due() == 5 * SECOND + SECOND // 2
    looked_each_tenth_of_a_second(heartbeats, 50, 55)
    assert lates(heartbeats, 5.4) == []
    assert lates(heartbeats, 5.5) == [DEGRADED]
    heartbeats.received(1, 6 * SECOND)
    assert lates(heartbeats, 7.4) == []
    assert lates(heartbeats, 7.5) == [DEGRADED]


def test_work_is_no_gap() -> None:
    """Time in which the registrar used the processor counts: a member that is stuck meanwhile is late."""
    heartbeats, worked = promised(0.1), 0
    for look in range(1, 6):
        worked += 100_000_000 if look > 1 else 0
        heartbeats.look(look * 101_000_000, worked)
    assert lates(heartbeats, 0.505) == [DEGRADED, UNHEALTHY]


def test_a_wait_that_was_allowed_when_it_began_is_no_gap() -> None:
    """A short promise that is made after a long wait does not make that wait a gap."""
    heartbeats = promised(4.0)
    heartbeats.look(SECOND)
    heartbeats.follow(changed(None, promise(0.1, incarnation=2)), SECOND + SECOND // 2)
    heartbeats.look(SECOND + SECOND // 2)
    assert lates(heartbeats, 1.7) == [DEGRADED]
    heartbeats.look(3 * SECOND)
    assert heartbeats.late(3 * SECOND) == []


# In shared memory


class Written(dict[int, int]):
    """The heartbeats that were written, by incarnation."""

    def __call__(self, place: int, incarnation: int) -> int:
        return self.get(incarnation, 0) if place else 0


def writing(every: float = 1.0) -> tuple[Heartbeats, Written]:
    """One promise was made at time 0, by a member that has a place to write to."""
    written = Written()
    heartbeats = Heartbeats(Limits(), written)
    heartbeats.follow(changed(None, promise(every, row_place=7)), 0)
    return heartbeats, written


def test_a_written_heartbeat_gives_time() -> None:
    """A heartbeat that was written counts from the moment at which it was, not from that at which it is found."""
    heartbeats, written = writing()
    written[1] = SECOND
    assert lates(heartbeats, 2.4) == []
    assert heartbeats.late(int(2.5 * SECOND)) == [Lateness(KEY, 1, DEGRADED, 7)]
    assert lates(heartbeats, 3.9) == []
    assert lates(heartbeats, 4) == [UNHEALTHY]


def test_a_heartbeat_that_is_written_while_the_registrar_looks_counts() -> None:
    """Found late, but on time: it is late with neither stage, and is so again when the next one is missing."""
    heartbeats, written = writing()
    late = heartbeats.late(4 * SECOND)
    assert [one.status for one in late] == [DEGRADED, UNHEALTHY]
    assert heartbeats.confirm(late, 4 * SECOND) == (late, [])
    heartbeats, written = writing()
    late = heartbeats.late(4 * SECOND)
    written[1] = 4 * SECOND
    assert heartbeats.confirm(late, 4 * SECOND) == ([], [late[1]])
    assert lates(heartbeats, 5.4) == []
    assert lates(heartbeats, 5.5) == [DEGRADED]


def test_a_degraded_member_asks_also_where_it_has_written() -> None:
    """Its heartbeat gives time, and does not take the noted stage back: that takes a request."""
    heartbeats, written = writing()
    assert lates(heartbeats, 1.5) == [DEGRADED]
    late = heartbeats.late(3 * SECOND)
    written[1] = 3 * SECOND
    assert heartbeats.confirm(late, 3 * SECOND) == ([], [])
    assert lates(heartbeats, 5.9) == []
    assert lates(heartbeats, 6) == [UNHEALTHY]
    assert heartbeats.received(1, 7 * SECOND) == 7


def test_a_written_heartbeat_stays_what_it_was_in_a_gap() -> None:
    """It counts on the clock of before the gap, as if the registrar had found it at once."""
    heartbeats, written = writing()
    looked_each_tenth_of_a_second(heartbeats, 0, 10)
    written[1] = SECOND * 8 // 10
    heartbeats.look(5 * SECOND)
    looked_each_tenth_of_a_second(heartbeats, 51, 62)
    assert lates(heartbeats, 6.2) == []
    assert lates(heartbeats, 6.3) == [DEGRADED]


def test_what_was_written_before_gives_no_time() -> None:
    """A registrar that starts gives each member its full time; what it finds written then is no later heartbeat."""
    written = Written({1: 5 * SECOND})
    heartbeats = Heartbeats(Limits(), written)
    heartbeats.inherit(KEY, promise(row_place=7).entry, 4 * SECOND)
    assert lates(heartbeats, 5.5) == [DEGRADED]


def test_how_often_to_look_follows_the_shortest_promise() -> None:
    """The registrar looks often enough for the shortest promise, and without promises it need not."""
    heartbeats = promised(8.0)
    assert heartbeats.look_seconds() == 1
    heartbeats.follow(changed(None, promise(0.8, incarnation=2)), 0)
    assert heartbeats.look_seconds() == 0.1
    heartbeats.follow(changed(promise(0.8, incarnation=2), None), 0)
    assert heartbeats.look_seconds() == 1
    heartbeats.follow(changed(promise(8.0), None), 0)
    assert heartbeats.look_seconds() is None


def looked_each_tenth_of_a_second(heartbeats: Heartbeats, first: int, last: int) -> None:
    for tenths in range(first, last + 1):
        heartbeats.look(tenths * SECOND // 10)


beats = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4 * SECOND)), max_size=30)


@given(beats)
def test_late_is_what_the_definition_says(steps: list[tuple[int, int]]) -> None:
    """Over any heartbeats and looks, the noted stage follows from the time since the last heartbeat. A member that is
    not late writes it."""
    written, now = Written(), 0
    heartbeats = Heartbeats(Limits(), written)
    signed = {1: 0, 2: 0}
    shown = dict.fromkeys(signed, 0)
    for incarnation in signed:
        heartbeats.follow(changed(None, promise(incarnation, incarnation=incarnation, row_place=incarnation)), 0)
    for incarnation, passed in steps:
        now += passed
        if incarnation in signed:
            if shown[incarnation]:
                heartbeats.received(incarnation, now)
            else:
                written[incarnation] = now
            signed[incarnation], shown[incarnation] = now, 0
            continue
        for _ in range(2):
            for late in heartbeats.late(now):
                shown[late.incarnation] += 1
                assert late.status == (DEGRADED, UNHEALTHY)[shown[late.incarnation] - 1]
        for one, last in signed.items():
            periods = (now - last) / SECOND / one
            assert shown[one] == (periods >= 1.5) + (periods >= 3), (one, periods)


# Decisions


def decide(record: Record, batch: Batch, utc: datetime = NOON) -> Decision:
    return Engine(Limits(), FakeKernel({DEAD}), Memory()).decide(FakeView([record]), batch, Instant(utc, SECOND))


def noted(record: Record, late: Lateness) -> Decision:
    return decide(record, Batch(late=[late]))


def beat(record: Record, owner: Owner = ALIVE, utc: datetime = NOON) -> Decision:
    request = wire.Heartbeat(process_id=A, owner=owner)
    return decide(record, Batch(calls=[Call(b"session", 1, 2 * SECOND, request, owner)]), utc)


def only_change(decision: Decision) -> Record:
    (change,) = decision.changes
    assert change.kind == "updated"
    assert change.after is not None
    return change.after


def test_a_lateness_is_noted() -> None:
    """The status is set by the registrar; the one before is kept with it, and nothing else changes."""
    record = promise(health_status=HealthStatus.healthy)
    after = only_change(noted(record, Lateness(KEY, 1, DEGRADED)))
    assert (after.entry.metadata.health_status, after.entry.health_source) == (DEGRADED, HealthSource.registrar)
    assert after.before_late == (HealthStatus.healthy, HealthSource.process)
    assert after.entry.metadata.last_health_check == record.entry.metadata.last_health_check
    later = only_change(noted(after, Lateness(KEY, 1, UNHEALTHY)))
    assert (later.entry.metadata.health_status, later.before_late) == (UNHEALTHY, after.before_late)


@pytest.mark.parametrize("late", [Lateness(KEY, 2, DEGRADED), Lateness(KEY + b"b", 1, DEGRADED)])
def test_a_lateness_is_one_incarnations(late: Lateness) -> None:
    """An entry that ended meanwhile, or is another's by now, is left alone."""
    assert not noted(promise(), late).writes


def test_the_dead_are_not_late() -> None:
    """A dead member gets no status; its entry is removed when the death is reported."""
    assert not noted(promise(owner=DEAD), Lateness(KEY, 1, DEGRADED)).writes


def test_a_heartbeat_in_the_same_batch_counts() -> None:
    """A member whose heartbeat is in the batch is not late in it."""
    request = wire.Heartbeat(process_id=A, owner=ALIVE)
    call = Call(b"session", 1, 2 * SECOND, request, ALIVE)
    assert decide(promise(), Batch(calls=[call], late=[Lateness(KEY, 1, DEGRADED)])).changes == []
    late = only_change(noted(promise(), Lateness(KEY, 1, DEGRADED)))
    again = only_change(decide(late, Batch(calls=[call], late=[Lateness(KEY, 1, UNHEALTHY)])))
    assert (again.entry.metadata.health_status, again.entry.health_source) == (
        HealthStatus.healthy,
        HealthSource.process,
    )


def test_a_heartbeat_in_time_is_no_change() -> None:
    """It is written, and has no revision."""
    decision = beat(promise(), utc=NOON + timedelta(seconds=1))
    assert (decision.changes, decision.writes) == ([], True)
    (record,) = decision.refreshed
    assert (record.entry.revision, record.entry.metadata.last_health_check) == (1, NOON + timedelta(seconds=1))
