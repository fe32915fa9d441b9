"""Short histories that were once answered wrongly, or judged wrongly, kept as tests of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adsum._member_row import HEARTBEAT_WORDS, heartbeat_at, key_for
from adsum.model import Limits, Owner

from . import reading
from .asks import Ask, Id, Item, Kind
from .faults import Fault
from .play import Play
from .world import SECOND

A: Id = ("default", "n", "a")
B: Id = ("default", "n", "b")


@pytest.fixture
def play() -> Iterator[Play]:
    play = Play(Limits())
    yield play
    play.close()


def _ask(
    play: Play,
    kind: Kind,
    caller: Owner,
    id: Id,
    *,
    to: Owner | None = None,
    incarnation: int | None = None,
    stand_by: int = 0,
    **fields: Any,
) -> int:
    session = play.session_of(caller)
    deadline = play.world.clock.nanoseconds + SECOND
    number = play.next_number(session)
    given: dict[str, Any] = {"owner": to or caller, "caller": caller, "stand_by": stand_by}
    if to is not None:
        given["if_incarnation"] = incarnation or play.model.holders[id].incarnation
    play.ask(Ask(kind, session, number, deadline, (Item(id, fields),), **given))
    return number


@pytest.mark.parametrize("answers", range(4))
def test_a_death_between_two_sweeps_is_removed_once_and_by_the_second(play: Play, answers: int) -> None:
    """A registrar removes one dead owner, is killed just after, and the next one finds another: two sweeps, in their
    order, whatever the pids. `answers` times the kernel still says that the second owner is alive."""
    second, first = play.world.processes.start(5), play.world.processes.start(20)
    _ask(play, "register", first, A)
    _ask(play, "register", second, B)
    play.commit()
    play.world.processes.kill(first)
    play.world.processes.fuses[second] = answers
    play.restart(killed_at="after_commit")
    play.commit()
    play.commit()
    play.look()
    assert [left.entry.id for left in play.model.departures] == ([B, A] if answers == 0 else [A, B])


@pytest.mark.parametrize("fault", ["killed_before", "killed_after"])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("answers", range(4))
def test_a_standby_whose_turn_comes_in_a_sweep_is_granted_once(
    play: Play, answers: int, again: bool, fault: Fault
) -> None:
    """Queued, or asked again, while a registrar was killed, and granted by the next one because the holder has died:
    the reply, and the receipt, is the grant."""
    holder, waiting = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", holder, A)
    play.commit()
    _ask(play, "stand_by", waiting, A)
    if again:
        play.commit()
        play.restart()
    play.world.processes.fuses[holder] = answers
    play.commit(fault)
    play.restart()
    play.commit()
    play.commit()
    play.look()
    assert play.model.holders[A].owner == waiting


def test_a_canceled_standby_takes_no_other_with_it(play: Play) -> None:
    """One process stands by and cancels, another stands by for the same id, all in one batch: the other is queued, and
    succeeds."""
    holder, first, second = (play.world.processes.start(pid) for pid in (1, 2, 3))
    _ask(play, "register", holder, A)
    play.commit()
    number = _ask(play, "stand_by", first, A)
    _ask(play, "cancel", first, A, stand_by=number)
    _ask(play, "stand_by", second, A)
    play.commit()
    play.world.processes.kill(holder)
    play.commit()
    assert play.model.holders[A].owner == second


def test_a_standby_that_is_queued_as_the_last_one_leaves_keeps_its_position(play: Play) -> None:
    """The last standby closes its registry in the instant in which another is queued, by the same clock."""
    holder, first, second, third = (play.world.processes.start(pid) for pid in (1, 2, 3, 4))
    _ask(play, "register", holder, A)
    _ask(play, "stand_by", first, A)
    _ask(play, "stand_by", second, A)
    play.commit()
    play.end_session(second)
    _ask(play, "stand_by", third, A)
    play.commit()
    play.world.processes.kill(holder)
    play.world.processes.kill(first)
    play.commit()
    assert play.model.holders[A].owner == third


def test_missed_heartbeats_are_noted_in_the_order_in_which_they_were_due(play: Play) -> None:
    """Two promises are made together; the first sends one more heartbeat, and so is late after the second. A registrar
    that looks when both are late notes them in that order."""
    first, second = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", first, A, heartbeat=0.5)
    _ask(play, "register", second, B, heartbeat=0.5)
    play.commit()
    play.tick(0.001)
    _ask(play, "heartbeat", first, A)
    play.commit()
    play.tick(1.0)
    play.commit()
    assert [change.after.id for change in play.model.changes[-2:] if change.after] == [B, A]


def test_a_departure_has_the_last_heartbeat_of_the_same_batch(play: Play) -> None:
    """A process sends a heartbeat, dies, and another takes its id, all before the registrar looks again: its departure
    has the time of that heartbeat."""
    first, second = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", first, A)
    play.commit()
    play.tick(60.0)
    _ask(play, "heartbeat", first, A)
    _ask(play, "register", second, A)
    play.world.processes.fuses[first] = 1
    play.commit()
    play.look()
    assert play.model.holders[A].owner == second


def test_a_standby_that_is_handed_its_id_is_granted(play: Play) -> None:
    """Its first standby is granted by the hand-over; its second one and the queue behind it stay."""
    holder, successor, last = (play.world.processes.start(pid) for pid in (1, 2, 3))
    _ask(play, "register", holder, A)
    first, second = _ask(play, "stand_by", successor, A), _ask(play, "stand_by", successor, A)
    behind = _ask(play, "stand_by", last, A)
    play.commit()
    _ask(play, "hand_over", holder, A, to=successor)
    play.commit()
    assert [ask.number for ask, _ in play.model.granted] == [first]
    assert [one.number for one in play.model.queues] == [second, behind]
    play.restart()
    play.world.processes.kill(successor)
    play.commit()
    assert play.model.holders[A].owner == last


@pytest.mark.parametrize("answers", range(3))
def test_an_owner_that_dies_before_it_is_watched_registers_nothing(play: Play, answers: int) -> None:
    """`answers` times the kernel says that the owner is alive: to none, the decision, or also the watch before the
    commit. Another process that asks in the same batch gets the id, unless the first was watched."""
    first, second = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", first, A)
    _ask(play, "register", second, B)
    play.world.processes.fuses[first] = answers
    play.commit()
    assert (A in play.model.holders) == (answers == 2)
    assert play.model.holders[B].owner == second
    play.commit()
    assert set(play.world.watch.watched) == {second}


def test_an_owner_is_watched_only_for_what_was_committed(play: Play) -> None:
    """One process registers two ids and hands one over, all in one batch, and dies before it is watched. The other was
    watched by then, and owns nothing in the end."""
    first, second = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", first, A)
    _ask(play, "register", first, B)
    _ask(play, "hand_over", first, B, to=second, incarnation=2)
    play.world.processes.fuses[first] = 3
    play.commit()
    assert play.model.holders == {}
    assert list(play.world.watch.watched) == []


def test_a_successor_that_dies_before_it_is_watched_is_skipped(play: Play) -> None:
    """The id goes to the standby behind it, in the same commit."""
    holder, successor, last = (play.world.processes.start(pid) for pid in (1, 2, 3))
    _ask(play, "register", holder, A)
    _ask(play, "stand_by", successor, A)
    _ask(play, "stand_by", last, A)
    play.commit()
    play.world.processes.kill(holder)
    play.world.processes.fuses[successor] = 1
    play.commit()
    assert play.model.holders[A].owner == last
    assert [ask.owner for ask, _ in play.model.granted] == [last]
    assert play.model.revision == 3


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_a_promise_that_is_withdrawn_ends_the_lateness(play: Play, seconds: float) -> None:
    """The status from before the missed heartbeat returns, also when it was another process that had set it."""
    process = play.world.processes.start(1)
    _ask(play, "register", process, A, heartbeat=1.0, health_status="degraded")
    play.commit()
    play.tick(1.6)
    play.commit()
    play.tick(seconds)
    play.commit()
    assert play.model.holders[A].source == "registrar"
    _ask(play, "update", process, A, heartbeat=None)
    play.commit()
    entry = play.model.holders[A]
    assert (entry.metadata["health_status"], entry.source) == ("degraded", "process")


def test_a_commit_that_fails_leaves_the_row_of_a_member_alone(play: Play) -> None:
    """A row may be given on, to another process or to another entry. Where the commit fails, it has what the member
    wrote, and a member that is late leaves no heartbeat there, which would take nothing back."""
    one, other = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", one, A, gauges={"load": 0.5}, heartbeat=0.5)
    play.commit()
    entry = play.model.holders[A]
    place = reading.place_of(play.world.environment.lmdb, entry.incarnation)
    rows, at, key = play.world.page.board.rows, heartbeat_at(place) + HEARTBEAT_WORDS, key_for(place, entry.incarnation)
    rows.write(at, key, 0.75)
    play.tick(2.0)
    play.commit()
    assert play.model.holders[A].source == "registrar"
    _ask(play, "hand_over", one, A, to=other)
    play.commit("no_room_at_all")
    assert rows.value(at, key) == 0.75
    play.leave_heartbeat(one, A)
    _ask(play, "unregister", one, A)
    _ask(play, "register", other, B, gauges={"load": 0.25})
    play.commit("no_room_at_all")
    assert rows.value(at, key) == 0.75
    _ask(play, "hand_over", one, A, to=other)
    play.commit()
    assert not rows.fits(at, key)
    assert rows.fits(at, key_for(place, play.model.holders[A].incarnation))
