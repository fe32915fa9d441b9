"""Heartbeats: which members promised one, and which are late with it.

The technique is a lazy timer heap: a heartbeat only writes a time and leaves the heap alone; an item whose time has
come is put back with a later one if a heartbeat came meanwhile (lazy deletion, as in the notes on priority queues of
Python's `heapq`). So a heartbeat costs a dict's update, and the heap holds one live item for each promise.

A registrar that starts gives every member its full time anew: it cannot know which heartbeats were sent while none ran,
and a health status must not get worse because of it.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from .._store.layout import Change
from ..model import Entry, HealthSource, HealthStatus, Limits

RETRY_NS = 100_000_000


class Lateness(NamedTuple):
    """A heartbeat has been missing for so long that its member counts as `status`."""

    key: bytes
    incarnation: int
    status: HealthStatus


class _Promise:
    """One entry's: its interval, when the last heartbeat came (both in monotonic nanoseconds), how many stages of
    lateness were noted, and the time of its live item in the heap."""

    __slots__ = ("due", "interval", "key", "last", "noted")

    def __init__(self, key: bytes, interval: int, last: int, noted: int) -> None:
        self.key = key
        self.interval = interval
        self.last = last
        self.noted = noted
        self.due = 0


class Heartbeats:
    """The promises of one registry."""

    def __init__(self, limits: Limits) -> None:
        self._stages = (
            (limits.degraded_after, HealthStatus.degraded),
            (limits.unhealthy_after, HealthStatus.unhealthy),
        )
        self._promises: dict[int, _Promise] = {}
        # Times and incarnations. An item that is not its promise's live one is dropped when its time comes.
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._promises)

    def inherit(self, key: bytes, entry: Entry, now: int) -> None:
        """Take up the promise of an entry, made now or to an earlier registrar; none if it promises no heartbeat."""
        interval = entry.metadata.heartbeat
        if interval is None:
            return
        noted = 0
        if entry.health_source is HealthSource.registrar:
            noted = len(self._stages) if entry.metadata.health_status is HealthStatus.unhealthy else 1
        self._promises[entry.incarnation] = promise = _Promise(key, int(interval * 1e9), now, noted)
        self._schedule(entry.incarnation, promise)

    def follow(self, change: Change, now: int) -> None:
        """A change was committed: a promise was made, changed or ended with it."""
        before = None if change.before is None else change.before.entry
        after = None if change.after is None else change.after.entry
        if before is not None and (after is None or after.incarnation != before.incarnation):
            self._promises.pop(before.incarnation, None)
        if after is None:
            return
        interval = after.metadata.heartbeat
        known = self._promises.get(after.incarnation)
        if interval is None:
            self._promises.pop(after.incarnation, None)
        elif known is None or known.interval != int(interval * 1e9):
            self.inherit(change.key, after, now)

    def received(self, incarnation: int, now: int) -> None:
        """A heartbeat has come."""
        promise = self._promises.get(incarnation)
        if promise is not None:
            promise.last = now
            if promise.noted:
                promise.noted = 0
                self._schedule(incarnation, promise)

    def late(self, now: int) -> list[Lateness]:
        """The members that became late, or later, since the last call, in the order in which they became so."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            due, incarnation = heapq.heappop(self._heap)
            promise = self._promises.get(incarnation)
            if promise is None or promise.due != due or promise.noted == len(self._stages):
                continue
            # A heartbeat that came meanwhile moved the deadline, and not the item.
            if self._deadline(promise) <= due:
                found.append(Lateness(promise.key, incarnation, self._stages[promise.noted][1]))
                promise.noted += 1
            self._schedule(incarnation, promise)
        return found

    def retry(self, late: list[Lateness], now: int) -> None:
        """These could not be committed; `late` returns them again in a moment."""
        for one in late:
            promise = self._promises.get(one.incarnation)
            if promise is not None and promise.noted:
                promise.noted -= 1
                promise.due = now + RETRY_NS
                heapq.heappush(self._heap, (promise.due, one.incarnation))

    def next_due(self) -> int | None:
        """When to call `late` next."""
        return self._heap[0][0] if self._heap else None

    def _deadline(self, promise: _Promise) -> int:
        return promise.last + int(promise.interval * self._stages[promise.noted][0])

    def _schedule(self, incarnation: int, promise: _Promise) -> None:
        if promise.noted < len(self._stages):
            promise.due = self._deadline(promise)
            heapq.heappush(self._heap, (promise.due, incarnation))
