"""Heartbeats in shared memory: the four words of a member's row that say when it sent the last one.

They are the time on the monotonic clock in nanoseconds, which the registrar compares with what was promised; the same
moment in microseconds since 1970, which an entry shows; both of them and the key of the entry, exclusive-or, which says
that the two were written for this entry, and together; and a word of the registrar. While that is not 0, the member is
late, and its next heartbeat is a request: it changes the health status.
"""

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec.structs import force_setattr

from .model import Entry

_copy: Callable[[Any], Any] = operator.methodcaller("__copy__")
_time_of = datetime.fromtimestamp

# Their places in a row. The time on the monotonic clock is the first.
WALL, CHECK, LATE = 1, 2, 3


class HeartbeatTime(NamedTuple):
    """When a heartbeat was sent: nanoseconds on the monotonic clock, microseconds since 1970. Zeros for none."""

    monotonic: int
    wall: int


NO_HEARTBEAT = HeartbeatTime(0, 0)


def with_heartbeat(entry: Entry, wall: int) -> Entry:
    """The entry with a heartbeat of that time, in microseconds since 1970, where none is known that is later."""
    # Not `msgspec.structs.replace`, which takes twice as long: this is most of what a heartbeat costs.
    checked = _time_of(wall / 1e6, UTC)
    metadata = entry.metadata
    if checked <= metadata.last_health_check:
        return entry
    entry, metadata = _copy(entry), _copy(metadata)
    force_setattr(metadata, "last_health_check", checked)
    force_setattr(entry, "metadata", metadata)
    return entry
