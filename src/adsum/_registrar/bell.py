"""The bell: one eventfd that wakes whoever listens, after a commit.

Ringing is one system call however many listen, but each of them then takes a processor for a moment. So it rings at
once after a quiet time, and in a storm only as often as those who listen can be afforded beside those who write.
"""

from __future__ import annotations

import os
import time

# What waking one listener costs everybody else, about: the time it takes a processor to look at what has changed.
LISTENER_SECONDS = 200e-6
# A herd is more than so many. Before it is woken, who was just answered gets this time to go first: else it might
# stand in line behind all of them, for the very processor that answered.
HERD = 8
HERD_PAUSE_SECONDS = 1e-3
# Ringing itself may take at most this part of the registrar's time.
SHARE = 0.1


class Bell:
    """Not rung yet for `due` changes. `listeners` is how many connections were given its descriptor."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.listeners = 0
        self._due = False
        self._not_before = 0.0

    def changed(self) -> None:
        """Something was committed."""
        if not self.listeners:
            return
        if self.is_herd and not self._due:
            self._not_before = max(self._not_before, time.monotonic() + HERD_PAUSE_SECONDS)
        self._due = True

    @property
    def is_herd(self) -> bool:
        return self.listeners > HERD

    def ring_if_due(self) -> None:
        if not self._due or time.monotonic() < self._not_before:
            return
        self._due = False
        # Not by the clock, for those who are woken may run in the middle of it.
        started = time.thread_time()
        try:
            os.eventfd_write(self.descriptor, 1)
        except BlockingIOError:
            # Nobody reads it, so it fills up, after 2**64 changes or by the hand of a listener; begin again.
            os.eventfd_read(self.descriptor)
            os.eventfd_write(self.descriptor, 1)
        spent = time.thread_time() - started
        self._not_before = time.monotonic() + max(self.listeners * LISTENER_SECONDS, spent / SHARE)

    def seconds_left(self) -> float | None:
        """Until it is to ring, if it is."""
        return max(0.0, self._not_before - time.monotonic()) if self._due else None

    def close(self) -> None:
        os.close(self.descriptor)
