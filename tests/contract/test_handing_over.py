"""Handing an id over to another process, in one step: no reader ever finds the id free."""

from __future__ import annotations

import pytest

from adsum import DeadProcess, Entry, NotRegistered, Registration, Registry, Stale
from tests.support import Agent, Child


def handed(registration: Registration) -> tuple[Entry, Entry, int]:
    """An entry before and after it was handed over to a child, and the pid of the child."""
    with Child("input()") as child:
        before = registration.entry
        return before, registration.hand_over(child.process), child.pid


def test_a_hand_over_makes_another_the_holder(either: Registry) -> None:
    """A hand-over makes a new incarnation with the same metadata, a departure, and a stale old registration."""
    registration = either.register("lead", capabilities={"x"})
    before, after, pid = handed(registration)
    assert (after.pid, after.incarnation, after.metadata) == (pid, before.revision + 1, before.metadata)
    assert [(departure.how, departure.entry) for departure in either.departures()][-1] == ("handed_over", before)
    with pytest.raises((Stale, NotRegistered)):
        registration.update(endpoint="x")


def test_a_standby_stays_queued_after_a_hand_over(either: Registry) -> None:
    """A hand-over does not free the id: a standby goes on waiting until the new holder ends."""
    with Agent(either.folder) as waiting, Child("input()") as child:
        registration = either.register("lead")
        waiting.do("waiting = registry.stand_by('lead')")
        registration.hand_over(child.pid)
        assert waiting.value("waiting.done()") is False
        assert either["lead"].pid == child.pid
        child.kill()
        assert waiting.value("waiting.result(9).entry.pid") == waiting.pid


def test_a_hand_over_to_a_standby_is_its_grant(either: Registry) -> None:
    """A standby that is handed the id is granted the entry that was handed over, and then waits no longer."""
    with Agent(either.folder) as successor:
        registration = either.register("lead", endpoint="here")
        successor.do("waiting = registry.stand_by('lead', endpoint='there')")
        after = registration.hand_over(successor.pid)
        assert successor.value("waiting.result(9).entry.incarnation") == after.incarnation
        assert after.metadata.endpoint == "here"
        either.unregister("lead")
        assert either.lookup("lead") is None


def test_nothing_is_handed_over_to_the_dead(either: Registry) -> None:
    """A hand-over to a dead process raises `DeadProcess`; the holder keeps its incarnation, and no event follows."""
    registration = either.register("lead")
    with Child("input()") as child, either.watch() as watch:
        child.kill_unreaped()
        for process in (child.pid, child.process):
            with pytest.raises(DeadProcess):
                registration.hand_over(process)
        assert either["lead"] == registration.entry
        assert watch.revision == either.stats().revision == 1
        assert either.departures() == []


def test_a_successor_of_none_is_refused(either: Registry) -> None:
    """Without a successor `hand_over` raises `TypeError`, and the registration stays valid."""
    registration = either.register("lead")
    with pytest.raises(TypeError, match="give the process"):
        registration.hand_over(None)  # type: ignore[arg-type]
    assert registration.update_health("degraded").incarnation == registration.entry.incarnation
