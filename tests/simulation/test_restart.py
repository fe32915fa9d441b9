"""Processes that die while a registrar starts, which is the moment when nobody else would notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adsum.model import Limits, Owner

from .asks import Ask, Id, Item, Kind
from .play import Play
from .world import SECOND

A: Id = ("default", "n", "a")
B: Id = ("default", "n", "b")


@pytest.fixture
def play() -> Iterator[Play]:
    play = Play(Limits())
    yield play
    play.close()


def _ask(play: Play, kind: Kind, caller: Owner, id: Id) -> None:
    session = play.session_of(caller)
    deadline = play.world.clock.nanoseconds + SECOND
    number = play.next_number(session)
    play.ask(Ask(kind, session, number, deadline, (Item(id),), owner=caller, caller=caller))


@pytest.mark.parametrize("answers", range(4))
def test_who_dies_between_two_starts_is_buried_once_and_after_those_who_died_before(play: Play, answers: int) -> None:
    """A registrar buries one death, is killed just after, and the next one finds another: two sweeps, in their order,
    whatever the numbers of the processes. `answers` times the kernel still says that the second lives."""
    second, first = play.world.processes.start(5), play.world.processes.start(20)
    _ask(play, "register", first, A)
    _ask(play, "register", second, B)
    play.commit()
    play.world.processes.kill(first)
    play.world.processes.fuses[second] = answers
    play.restart(trouble="after_commit")
    play.commit()
    play.commit()
    play.look()
    assert [left.entry.id for left in play.model.departures] == ([B, A] if answers == 0 else [A, B])


@pytest.mark.parametrize("answers", range(4))
def test_a_place_in_line_whose_turn_comes_while_the_registrar_starts_is_granted_once(play: Play, answers: int) -> None:
    """Queued by a registrar that was killed before it said so, granted by the next one because the holder has died:
    what is told, and found in the receipt, is that it was granted."""
    holder, waiting = play.world.processes.start(1), play.world.processes.start(2)
    _ask(play, "register", holder, A)
    play.commit()
    _ask(play, "stand_by", waiting, A)
    play.world.processes.fuses[holder] = answers
    play.commit("killed_after")
    play.commit()
    play.commit()
    play.look()
    assert play.model.held[A].owner == waiting
