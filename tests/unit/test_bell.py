"""The bell rings for every change; how often depends on the listeners, not on how the processors are shared."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from adsum._registrar.bell import HERD, HERD_PAUSE_SECONDS, LISTENER_SECONDS, Bell

from ..support import eventually


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.close()


def has_rung(bell: Bell) -> bool:
    """Whether it has rung since this was asked."""
    bell.ring_if_due()
    try:
        return os.eventfd_read(bell.descriptor) > 0
    except BlockingIOError:
        return False


def test_it_does_not_ring_without_listeners(bell: Bell) -> None:
    """Without listeners nothing is done."""
    bell.changed()
    assert not has_rung(bell)
    assert bell.seconds_left() is None


def test_it_rings_at_once_for_a_few(bell: Bell) -> None:
    """After a quiet time a few listeners are woken at once, and once for a change."""
    bell.listeners = HERD
    bell.changed()
    assert has_rung(bell)
    assert bell.seconds_left() is None
    assert not has_rung(bell)


def test_a_herd_waits_for_the_clients_just_answered(bell: Bell) -> None:
    """Many listeners are woken a moment later; further changes do not delay that."""
    bell.listeners = HERD + 1
    begun = time.monotonic()
    bell.changed()
    assert 0 < (bell.seconds_left() or 0) <= HERD_PAUSE_SECONDS

    def goes_on() -> bool:
        bell.changed()
        return has_rung(bell)

    eventually(goes_on)
    assert time.monotonic() - begun >= HERD_PAUSE_SECONDS


def test_no_ring_is_lost_between_two(bell: Bell) -> None:
    """A change too soon after the last ring is rung for later."""
    bell.listeners = 500
    bell.changed()
    eventually(lambda: has_rung(bell))
    bell.changed()
    assert not has_rung(bell)
    eventually(lambda: has_rung(bell))


def test_the_listeners_it_wakes_do_not_silence_it(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the write takes by the clock, as it does where the listeners run first: it rings again after the
    listeners' time."""

    def preempted(descriptor: int, value: int) -> None:
        time.sleep(0.3)
        written(descriptor, value)

    written = os.eventfd_write
    monkeypatch.setattr(os, "eventfd_write", preempted)
    bell.listeners = 1
    bell.changed()
    assert has_rung(bell)
    bell.changed()
    # Ten times the time of one listener, against the 3 s that the clock would say.
    assert (bell.seconds_left() or 0) <= max(0.3, 10 * LISTENER_SECONDS)
