"""Handing an id over to another process: in one step, so that nobody ever finds it free."""

from __future__ import annotations

import pytest

from adsum import DeadProcess, Entry, NotRegistered, Registration, Registry, Stale
from tests.support import Agent, Child


def handed(registration: Registration) -> tuple[Entry, Entry, int]:
    """An entry before and after it was handed over to a child, and that child's pid."""
    with Child("input()") as child:
        before = registration.entry
        return before, registration.hand_over(child.process), child.pid


def test_a_hand_over_makes_another_the_holder(either: Registry) -> None:
    """A new incarnation with the same metadata; the old registration is stale, and the departure says why."""
    registration = either.register("lead", capabilities={"x"})
    before, after, pid = handed(registration)
    assert (after.pid, after.incarnation, after.metadata) == (pid, before.revision + 1, before.metadata)
    assert [(departure.how, departure.entry) for departure in either.departures()][-1] == ("handed_over", before)
    with pytest.raises((Stale, NotRegistered)):
        registration.update(endpoint="x")


def test_who_stands_by_goes_on_after_a_hand_over(either: Registry) -> None:
    """Handing over frees nothing: whoever stands by waits for the new holder's end."""
    with Agent(either.folder) as waiting, Child("input()") as child:
        registration = either.register("lead")
        waiting.do("waiting = registry.stand_by('lead')")
        registration.hand_over(child.pid)
        assert waiting.value("waiting.done()") is False
        assert either["lead"].pid == child.pid
        child.kill()
        assert waiting.value("waiting.result(9).entry.pid") == waiting.pid


def test_who_is_handed_what_it_stands_by_for_succeeds(either: Registry) -> None:
    """Its stand-by is granted with the entry that was handed over, metadata and all; and it waits no longer."""
    with Agent(either.folder) as heir:
        registration = either.register("lead", endpoint="here")
        heir.do("waiting = registry.stand_by('lead', endpoint='there')")
        after = registration.hand_over(heir.pid)
        assert heir.value("waiting.result(9).entry.incarnation") == after.incarnation
        assert after.metadata.endpoint == "here"
        either.unregister("lead")
        assert either.lookup("lead") is None


def test_nothing_is_handed_over_to_the_dead(either: Registry) -> None:
    """`DeadProcess`: the holder stays, under its incarnation, and nothing is told to anybody."""
    registration = either.register("lead")
    with Child("input()") as child, either.watch() as watch:
        child.kill_unreaped()
        for process in (child.pid, child.process):
            with pytest.raises(DeadProcess):
                registration.hand_over(process)
        assert either["lead"] == registration.entry
        assert watch.revision == either.stats().revision == 1
        assert either.departures() == []


def test_nothing_is_handed_over_to_nobody(either: Registry) -> None:
    """A successor that was never found is a mistake; the registration stays good."""
    registration = either.register("lead")
    with pytest.raises(TypeError, match="give the process"):
        registration.hand_over(None)
    assert registration.update_health("degraded").incarnation == registration.entry.incarnation
