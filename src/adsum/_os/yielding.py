"""Waiting awake: a thread looks again and again, and yields the processor between two looks (sched_yield(2)).

That is right while no other thread wants the processor. Where others do, a yield gives them a slice of some
milliseconds, and a thread that sleeps would have the processor sooner, as soon as it is woken. So the thread must tell
the two apart. A long yield alone does not: a virtual machine that its host stops for a moment has them too, with no
other thread on the processor. The kernel counts what matters: how often a thread that could run was taken off its
processor (`ru_nivcsw`, getrusage(2); a yield that found another thread counts).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

# A yield to the other side of a request is shorter than this, on a slow machine too; a slice of a busy thread is longer
# (base_slice_ns in kernel/sched/fair.c: 0.7 ms, and more on several processors).
LONG_SECONDS = 0.0005
# How long the processor counts as crowded then.
CROWDED_SECONDS = 0.1


class YieldingWait:
    """What the waits of one thread have learned about its processor. Times are of `monotonic`, in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._crowded_until = 0.0
        self._switches = 0

    def may_begin(self, now: float) -> bool:
        """Whether to wait awake from `now` on: not where others wanted the processor a moment ago."""
        if now < self._crowded_until:
            return False
        self._switches = _switches()
        return True

    def may_go_on(self, now: float) -> bool:
        """Yield the processor, at `now`. Returns whether to look again: not where others want it."""
        os.sched_yield()
        if self._monotonic() - now <= LONG_SECONDS or _switches() == self._switches:
            return True
        self._crowded_until = now + CROWDED_SECONDS
        return False


def _switches() -> int:
    """How often this thread has lost its processor while it could run."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
