"""Following the registry: what a watch, sync or async, gives its consumer.

A follower's place in the history is a revision. What came after it is read from the tables, all of it in one snapshot
and at most what the history holds, so a slow consumer costs nobody but itself, and never more than that. When the
history does not reach back to its place, or when the registry was made anew, it starts again from a fresh snapshot and
says so with one `lagged` event.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .._store.history import Step
from .._store.query import Query
from .._store.reader import Reader
from ..model import Entry, Event, Kind, Revision


class _At(NamedTuple):
    """A place in the life of a registry (`epoch` is 0 where there is none yet), and the steps that lead to it and were
    not given out. Replaced whole, so that a fork finds both or neither."""

    epoch: int
    revision: int
    steps: deque[Step]


class Follower:
    """One watch's place in the history. Safe for threads: each event goes to one of them."""

    def __init__(
        self, reader: Reader, query: Query, where: Callable[[Entry], object] | None, since: int | None
    ) -> None:
        self._reader = reader
        self._query = query
        self._where = where
        self._lock = threading.Lock()
        self._lagged = False
        self.snapshot: list[Entry] = []
        self._at = self._begin(since)
        # A number that a watch gave out tells which registry it is of; one from anywhere else is taken at its word.
        if since is not None and (self.revision != since or getattr(since, "epoch", 0) not in (0, self._at.epoch)):
            self._lagged = True

    def take(self) -> Event | None:
        """The next event, if it has happened. Errors: what `where` raises; then the same change comes again."""
        with self._lock:
            if not self._lagged and not self._at.steps:
                self._read()
            if self._lagged:
                self._lagged = False
                return Event(Kind.lagged, None, self._numbered(self._at.revision))
            steps = self._at.steps
            while steps:
                event = self._seen(steps[0])
                steps.popleft()
                if event is not None:
                    return event
            return None

    @property
    def revision(self) -> Revision:
        """Up to here the consumer has been told everything; what to give as `since` to go on later."""
        at = self._at
        return self._numbered(at.revision - len(at.steps))

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _numbered(self, revision: int) -> Revision:
        return Revision(revision, self._at.epoch)

    def _read(self) -> None:
        at = self._at
        # Whoever wakes a watch has brought the page up to date before.
        if self._reader.position() == (at.epoch, at.revision):
            return
        epoch, revision, steps = self._reader.steps_since(at.epoch, at.revision)
        if steps is not None:
            self._at = _At(epoch, revision, deque(steps))
        else:
            self._at = self._begin(None)
            self._lagged = True

    def _begin(self, since: int | None) -> _At:
        """The place after `since`, with the snapshot as it was then; the present where the history does not hold it."""
        epoch, revision, entries, steps = self._reader.state_at(self._query, since, getattr(since, "epoch", 0))
        self.snapshot = [entry for entry in entries if self._where is None or self._where(entry)]
        return _At(epoch, revision, deque(steps))

    def _seen(self, step: Step) -> Event | None:
        """A change as this watch sees it. What starts to match is registered to it, what stops is unregistered."""
        before, after = step.before, step.after
        matched, matches = self._matches(before), self._matches(after)
        if not (matched or matches):
            return None
        kind = step.kind
        if before is not None and after is not None and matched != matches:
            kind = Kind.registered if matches else Kind.unregistered
        previous = before if after is not None else None
        return Event(kind, after or before, self._numbered(step.revision), previous)

    def _matches(self, entry: Entry | None) -> bool:
        return entry is not None and self._query.matches(entry) and (self._where is None or bool(self._where(entry)))
