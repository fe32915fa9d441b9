"""Heartbeats: which members promised one, and which are late with it.

The technique is a lazy timer heap: a heartbeat only writes a time and leaves the heap alone; an item whose time has
come is put back with a later one if a heartbeat came meanwhile (lazy deletion, as in the notes on priority queues of
Python's `heapq`). So the heap holds one live item for each promise.

Most members write that time into shared memory themselves (see `adsum._heartbeat`), and it is read here when an item's
time has come. A member that is late sends its next heartbeat as a request, because that changes its health status. The
word that tells the member so is written after `late` has named it, and before `confirm` looks once more: a heartbeat
that was written meanwhile counts.

A registrar that starts gives every member its full time anew: it cannot know which heartbeats were sent while none ran,
and a health status must not get worse because of it. For the same reason time in which the registrar did not look does
not count: it was stopped, frozen with its container, or waited for a processor, and the members may have been, too.
While there are promises it looks often, so that it notices such a gap. All times in here are of a clock that is stopped
in gaps.
"""

import heapq
from collections import Counter
from collections.abc import Callable

import msgspec

from .._store.layout import Change
from ..model import Entry, HealthSource, HealthStatus, Limits

RETRY_NS = 500_000_000
# How often the registrar looks while there are promises: so many times in the shortest interval. A gap is at least two
# looks long, so one that is not noticed takes less than the half interval that a member has until it is late.
_LOOKS = 8
_SHORTEST_LOOK_NS = 5_000_000


class Lateness(msgspec.Struct, frozen=True):
    """A heartbeat has been missing for so long that its member counts as `status`. `place` is where in shared memory it
    would be."""

    key: bytes
    incarnation: int
    status: HealthStatus
    place: int = 0


class _OpenPromise:
    """One entry's: its interval, when the last heartbeat came (both in monotonic nanoseconds), how many stages of
    lateness were noted, and the time of its live item in the heap. `seen` is the last heartbeat that was found at its
    `place` in shared memory, as it was written."""

    __slots__ = ("due", "interval", "key", "last", "noted", "place", "seen")

    def __init__(self, key: bytes, place: int, interval: int, last: int, noted: int) -> None:
        self.key = key
        self.place = place
        self.seen = 0
        self.interval = interval
        self.last = last
        self.noted = noted
        self.due = 0


def _nothing_written(_place: int, _incarnation: int) -> int:
    return 0


class Heartbeats:
    """The promises of one registry. `written` gives the last heartbeat at a place that an incarnation has left there,
    in monotonic nanoseconds; 0 for none."""

    def __init__(self, limits: Limits, written: Callable[[int, int], int] = _nothing_written) -> None:
        self._written = written
        self._stages = (
            (limits.degraded_after, HealthStatus.degraded),
            (limits.unhealthy_after, HealthStatus.unhealthy),
        )
        self._promises: dict[int, _OpenPromise] = {}
        # How many promises have each interval.
        self._intervals: Counter[int] = Counter()
        # The shortest of them, kept because every turn of the registrar's loop asks for it.
        self._shortest = 0
        # When the registrar looked last, what it had worked by then, and how long it might be idle until the next look:
        # 0 for as long as it likes.
        self._looked = self._worked = self._allowed = 0
        # The length of all gaps: what this clock is behind the monotonic clock.
        self._lost = 0
        # Times and incarnations. An item that is not its promise's live one is dropped when its time comes.
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._promises)

    def look(self, now: int, worked: int = 0) -> None:
        """The registrar looks at its sockets `now`, and has used the processor for `worked` nanoseconds so far. Time
        since its last look does not count where it neither worked nor had said that it would wait so long: see
        `look_seconds`."""
        idle = now - self._looked - (worked - self._worked)
        if self._allowed and idle > self._allowed:
            for incarnation, promise in self._promises.items():
                # On the clock of before the gap, which is stopped in the gap.
                self._catch_up(incarnation, promise, self._looked)
            self._lost += idle
        self._looked, self._worked = now, worked
        # What a promise that is made after this look asks for begins with the next one.
        self._allowed = 2 * self._look_ns() if self._intervals else 0

    def look_seconds(self) -> float | None:
        """The longest time to the next look; None while there is no promise."""
        return self._look_ns() / 1e9 if self._intervals else None

    def _look_ns(self) -> int:
        return max(_SHORTEST_LOOK_NS, self._shortest // _LOOKS)

    def inherit(self, key: bytes, entry: Entry, now: int) -> None:
        """Take up the promise of an entry, made now or to an earlier registrar; none if it promises no heartbeat."""
        interval = _promised(entry)
        if interval is None:
            return
        noted = 0
        if entry.health_source is HealthSource.registrar:
            noted = len(self._stages) if entry.metadata.health_status is HealthStatus.unhealthy else 1
        self._end(entry.incarnation)
        promise = _OpenPromise(key, entry.row_place, int(interval * 1e9), now - self._lost, noted)
        promise.seen = self._written(entry.row_place, entry.incarnation)
        self._promises[entry.incarnation] = promise
        self._intervals[promise.interval] += 1
        self._shortest = min(self._shortest or promise.interval, promise.interval)
        self._schedule(entry.incarnation, promise)

    def _end(self, incarnation: int) -> None:
        promise = self._promises.pop(incarnation, None)
        if promise is not None:
            self._intervals[promise.interval] -= 1
            if not self._intervals[promise.interval]:
                del self._intervals[promise.interval]
                if promise.interval == self._shortest:
                    self._shortest = min(self._intervals, default=0)

    def follow(self, change: Change, now: int) -> None:
        """A change was committed: a promise was made, changed or ended with it."""
        before = None if change.before is None else change.before.entry
        after = None if change.after is None else change.after.entry
        if before is not None and (after is None or after.incarnation != before.incarnation):
            self._end(before.incarnation)
        if after is None:
            return
        interval = _promised(after)
        known = self._promises.get(after.incarnation)
        if interval is None:
            self._end(after.incarnation)
        elif known is None or known.interval != int(interval * 1e9):
            self.inherit(change.key, after, now)

    def received(self, incarnation: int, now: int) -> int:
        """A heartbeat has come in a request. Returns the place at which its member leaves the next ones; 0 for none."""
        promise = self._promises.get(incarnation)
        if promise is None:
            return 0
        promise.last = now - self._lost
        if promise.noted:
            promise.noted = 0
            self._schedule(incarnation, promise)
        return promise.place

    def _catch_up(self, incarnation: int, promise: _OpenPromise, now: int) -> bool:
        """Whether a heartbeat was written since the last call. None was later than `now`."""
        written = self._written(promise.place, incarnation)
        if written in (0, promise.seen):
            return False
        promise.seen = written
        promise.last = max(promise.last, min(written, now) - self._lost)
        return True

    def late(self, now: int) -> list[Lateness]:
        """The members that became late, or later, since the last call, in the order in which they became so."""
        found = []
        while self._heap and self._heap[0][0] <= now - self._lost:
            due, incarnation = heapq.heappop(self._heap)
            promise = self._promises.get(incarnation)
            if promise is None or promise.due != due or promise.noted == len(self._stages):
                continue
            # A heartbeat that came meanwhile moved the deadline, and not the item.
            self._catch_up(incarnation, promise, now)
            if self._deadline(promise) <= due:
                found.append(Lateness(promise.key, incarnation, self._stages[promise.noted][1], promise.place))
                promise.noted += 1
            self._schedule(incarnation, promise)
        return found

    def confirm(self, late: list[Lateness], now: int) -> tuple[list[Lateness], list[Lateness]]:
        """Those that are still late, and those that are not late at all, because a heartbeat was written after all."""
        written = {
            one.incarnation for one in late if self._catch_up(one.incarnation, self._promises[one.incarnation], now)
        }
        punctual = []
        for one in late:
            if one.incarnation in written:
                promise = self._promises[one.incarnation]
                promise.noted -= 1
                if not promise.noted:
                    punctual.append(one)
                self._schedule(one.incarnation, promise)
        return [one for one in late if one.incarnation not in written], punctual

    def retry(self, late: list[Lateness], now: int) -> None:
        """These could not be committed; `late` returns them again in a moment."""
        for one in late:
            promise = self._promises.get(one.incarnation)
            if promise is not None and promise.noted:
                promise.noted -= 1
                promise.due = now - self._lost + RETRY_NS
                heapq.heappush(self._heap, (promise.due, one.incarnation))

    def next_due(self) -> int | None:
        """When to call `late` next."""
        return self._heap[0][0] + self._lost if self._heap else None

    def _deadline(self, promise: _OpenPromise) -> int:
        return promise.last + int(promise.interval * self._stages[promise.noted][0])

    def _schedule(self, incarnation: int, promise: _OpenPromise) -> None:
        if promise.noted < len(self._stages):
            promise.due = self._deadline(promise)
            heapq.heappush(self._heap, (promise.due, incarnation))


def _promised(entry: Entry) -> float | None:
    """The interval of a member of this registry. Members of other hosts are judged there."""
    return entry.metadata.heartbeat if entry.origin is None else None
