"""Lateness as a reader judges it, while no registrar is alive to note it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..model import Entry, HealthSource, HealthStatus, Limits

SEVERITY = (HealthStatus.healthy, HealthStatus.degraded, HealthStatus.unhealthy)


def judged(entry: Entry, limits: Limits, now: datetime) -> Entry:
    """The entry with the health status that its missing heartbeats make of it; the entry itself where none is missing.

    It counts from the last heartbeat, on the wall clock: the registrar's own times were in its memory.
    """
    interval = entry.metadata.heartbeat
    if interval is None or entry.origin is not None:
        return entry
    late = (now - entry.metadata.last_health_check).total_seconds() / interval
    if late < limits.degraded_after:
        return entry
    status = HealthStatus.unhealthy if late >= limits.unhealthy_after else HealthStatus.degraded
    if SEVERITY.index(status) <= SEVERITY.index(entry.metadata.health_status):
        return entry
    metadata = msgspec.structs.replace(entry.metadata, health_status=status)
    return msgspec.structs.replace(entry, metadata=metadata, health_source=HealthSource.registrar)
