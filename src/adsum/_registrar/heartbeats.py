"""Heartbeats: who promised a sign of life, and when it is late.

Signs are times in memory, so one costs no more than a dict's update. A registrar that starts gives everybody their time
again: it cannot know what came while none ran, and a status must not get worse because of it.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from .._store.layout import Change
from ..model import Entry, HealthSource, HealthStatus, Limits

AGAIN_NS = 100_000_000


class Lateness(NamedTuple):
    """A sign of life is missing, so long that its process counts as `status`."""

    key: bytes
    incarnation: int
    status: HealthStatus


class _Promise:
    """One entry's: when the last sign came (monotonic nanoseconds), and how much of its being late was noted."""

    __slots__ = ("every", "key", "noted", "queued", "signed")

    def __init__(self, key: bytes, every: int, signed: int, noted: int) -> None:
        self.key = key
        self.every = every
        self.signed = signed
        self.noted = noted
        self.queued = 0


class Heartbeats:
    """The promises of one registry."""

    def __init__(self, limits: Limits) -> None:
        self._stages = (
            (limits.degraded_after, HealthStatus.degraded),
            (limits.unhealthy_after, HealthStatus.unhealthy),
        )
        self._promises: dict[int, _Promise] = {}
        # At most one live item for each promise; those that were put off or forgotten stay until their time comes.
        self._queue: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._promises)

    def inherit(self, key: bytes, entry: Entry, now: int) -> None:
        """A promise that was made to an earlier registrar."""
        every = entry.metadata.heartbeat
        if every is not None:
            noted = 0 if entry.health_source is not HealthSource.registrar else 1
            if noted and entry.metadata.health_status is HealthStatus.unhealthy:
                noted = len(self._stages)
            self._promises[entry.incarnation] = promise = _Promise(key, int(every * 1e9), now, noted)
            self._expect(entry.incarnation, promise)

    def follow(self, change: Change, now: int) -> None:
        """A change was committed: a promise was made, changed or ended with it."""
        before = None if change.before is None else change.before.entry
        after = None if change.after is None else change.after.entry
        if before is not None and (after is None or after.incarnation != before.incarnation):
            self._promises.pop(before.incarnation, None)
        if after is None:
            return
        every = after.metadata.heartbeat
        known = self._promises.get(after.incarnation)
        if every is None:
            self._promises.pop(after.incarnation, None)
        elif known is None or known.every != int(every * 1e9):
            self.inherit(change.key, after, now)

    def sign(self, incarnation: int, now: int) -> None:
        """A sign of life has come."""
        promise = self._promises.get(incarnation)
        if promise is not None:
            promise.signed = now
            if promise.noted:
                promise.noted = 0
                self._expect(incarnation, promise)

    def late(self, now: int) -> list[Lateness]:
        """Whose signs became late, or later, since the last time, in the order in which they became so."""
        found = []
        while self._queue and self._queue[0][0] <= now:
            due, incarnation = heapq.heappop(self._queue)
            promise = self._promises.get(incarnation)
            if promise is None or promise.queued != due or promise.noted == len(self._stages):
                continue
            # A sign that came in between moved the time, and nothing in the queue.
            if self._due(promise) <= due:
                found.append(Lateness(promise.key, incarnation, self._stages[promise.noted][1]))
                promise.noted += 1
            self._expect(incarnation, promise)
        return found

    def put_off(self, late: list[Lateness], now: int) -> None:
        """These could not be written down; they are late again in a moment."""
        for one in late:
            promise = self._promises.get(one.incarnation)
            if promise is not None and promise.noted:
                promise.noted -= 1
                promise.queued = now + AGAIN_NS
                heapq.heappush(self._queue, (promise.queued, one.incarnation))

    def next_due(self) -> int | None:
        """When `late` should be asked again."""
        return self._queue[0][0] if self._queue else None

    def _due(self, promise: _Promise) -> int:
        return promise.signed + int(promise.every * self._stages[promise.noted][0])

    def _expect(self, incarnation: int, promise: _Promise) -> None:
        if promise.noted < len(self._stages):
            promise.queued = self._due(promise)
            heapq.heappush(self._queue, (promise.queued, incarnation))
