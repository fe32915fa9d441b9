"""The heartbeats of cached entries: shared memory has the last one of a member, and a cached entry has an older one."""

from __future__ import annotations

import math
import sys

from .._heartbeat import NO_HEARTBEAT, with_heartbeat
from .._member_row import heartbeat_at, key_of
from ..model import Entry, Limits
from .member_rows import MemberRows

# Where an entry without a row has its heartbeat: beyond all rows.
_NOWHERE = sys.maxsize


class Promise:
    """Of a cached entry that promises heartbeats: `entry` with the last one that was seen, which came at `wall` in
    microseconds since 1970, and `late_at`, when the next one is late, in seconds since 1970. `at` and `key` are where
    its member leaves them, and with which key."""

    __slots__ = ("_limit", "_monotonic", "_rows", "_stored", "at", "entry", "key", "late_at", "wall")

    def __init__(self, stored: Entry, interval: float, limits: Limits | None, rows: MemberRows) -> None:
        self._stored = self.entry = stored
        self._rows = rows
        self._monotonic = 0
        self.at = heartbeat_at(stored.row_place) if stored.row_place else _NOWHERE
        self.key = key_of(stored)
        self._limit = math.inf if limits is None else interval * limits.degraded_after
        self.late_at = stored.metadata.last_health_check.timestamp() + self._limit
        self.wall = 0
        self.look()

    @property
    def board_number(self) -> int:
        """The number of the board that it is on."""
        return self._rows.number

    def look(self) -> Entry:
        """The entry with the last heartbeat."""
        at, rows = self.at, self._rows
        if at >= rows.ready and at != _NOWHERE:
            # It may have memory since.
            rows.refresh()
        if at < rows.ready and rows.words[at] != self._monotonic:
            last = rows.heartbeat(at, self.key)
            if last != NO_HEARTBEAT:
                return self.show(last.monotonic, last.wall)
        return self.entry

    def show(self, monotonic: int, wall: int) -> Entry:
        """The entry with this heartbeat. The times are those of `Heartbeat`."""
        self.entry = entry = with_heartbeat(self._stored, wall)
        if entry is not self._stored:
            self.late_at = wall / 1e6 + self._limit
        self.wall = wall
        self._monotonic = monotonic
        return entry
