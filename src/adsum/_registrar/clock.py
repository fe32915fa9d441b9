"""The clocks of this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from .._engine.batch import Instant
from .._store.hosts import boottime_ns


class SystemClock:
    """The clocks of this machine; clients read the same ones."""

    monotonic = staticmethod(time.monotonic)
    monotonic_ns = staticmethod(time.monotonic_ns)
    boottime_ns = staticmethod(boottime_ns)
    worked_ns = staticmethod(time.process_time_ns)

    def instant(self) -> Instant:
        return Instant(datetime.now(UTC), time.monotonic_ns())
