"""The bell: a broadcast doorbell, one eventfd(2) that wakes every listening process after a commit.

Each listener has the eventfd in an edge-triggered epoll(7) of its own, so one write wakes them all, and none of them
has to read it. Ringing is one system call however many listen, but each listener then takes a processor for a moment.
So the bell rings at once after a quiet time, and in a storm of changes only so often that writers get processors too.
"""

from __future__ import annotations

import os
import time

# The processor time that one listener takes to read the changes, about.
LISTENER_SECONDS = 200e-6
# More listeners than this are a herd. Before it is woken, the clients just answered get this time to run first: else
# they might queue behind all of it, for the very processor that answered them.
HERD = 8
HERD_PAUSE_SECONDS = 1e-3
# Ringing itself may take at most this part of the registrar's time.
SHARE = 0.1


class Bell:
    """`listeners` is how many connections were given its descriptor."""

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
        # Processor time: by the clock, the listeners that it wakes may run in the middle of the write.
        started = time.thread_time()
        try:
            os.eventfd_write(self.descriptor, 1)
        except BlockingIOError:
            # It is never read, so it is full after 2**64 rings, or when a listener has written to it; begin again.
            os.eventfd_read(self.descriptor)
            os.eventfd_write(self.descriptor, 1)
        spent = time.thread_time() - started
        self._not_before = time.monotonic() + max(self.listeners * LISTENER_SECONDS, spent / SHARE)

    def seconds_left(self) -> float | None:
        """Until it has to ring; None when no ring is due."""
        return max(0.0, self._not_before - time.monotonic()) if self._due else None

    def close(self) -> None:
        os.close(self.descriptor)
