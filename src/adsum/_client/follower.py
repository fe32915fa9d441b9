"""A watch's view of the change feed: which changes match, and as what kind of event its consumer sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._os.locks import locked
from .._store.feed import Base, Position, TableFeed, position_of
from .._store.history import Step
from .._store.query import Query
from .._store.reader import OwnChanges, Reader
from ..model import Entry, Event, Kind, Revision


class Follower:
    """The events of one watch, from its change feed. Safe for threads: each event goes to one of them. A watch about
    one id has events of hosts only with `has_hosts`."""

    def __init__(
        self,
        reader: Reader,
        query: Query,
        where: Callable[[Entry], object] | None,
        since: int | None,
        *,
        has_hosts: bool = False,
    ) -> None:
        self._reader = reader
        self._query = query
        self._where = where
        self._has_hosts = has_hosts or query.process_id is None
        self._lock = threading.RLock()

        def read_base(since: Position | None) -> Base[list[Entry]]:
            base = reader.state_at(query, since)
            return base if where is None else base._replace(state=[entry for entry in base.state if where(entry)])

        # No function that the feed holds refers to the follower: a watch that is forgotten is freed without the garbage
        # collector.
        source = OwnChanges(reader) if query.here else reader
        self._feed = TableFeed(lambda: source, read_base, position_of(since))

    @property
    def snapshot(self) -> list[Entry]:
        """The entries that matched at the revision at which the events start, or start again after a lag."""
        return self._feed.base

    @locked
    def take(self) -> Event | None:
        """The next event, if there is one. An error that `where` raises is raised here; the same change comes again."""
        feed = self._feed
        if not feed.advance():
            return Event(Kind.lagged, None, self.revision)
        while (step := feed.peek()) is not None:
            event = self._event_of(step)
            feed.take()
            if event is not None:
                return event
        return None

    @property
    def revision(self) -> Revision:
        """The consumer has every event up to here; give it as `since` to go on later."""
        position = self._feed.position
        return Revision(position.revision, position.epoch)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    def _event_of(self, step: Step) -> Event | None:
        """A change as this watch sees it: an entry that starts to match is registered, one that stops unregistered."""
        before, after = step.before, step.after
        if step.host:
            return self._of_host(step)
        matched, matches = self._matches(before), self._matches(after)
        if not (matched or matches):
            return None
        kind = step.kind
        if before is not None and after is not None and matched != matches:
            kind = Kind.registered if matches else Kind.unregistered
        previous = before if after is not None else None
        ended = before if kind is Kind.died else None
        known = None if ended is None else self._reader.reports.departure_of(ended, step.revision)
        event = Event(kind, after or before, Revision(step.revision, self._feed.epoch), previous)
        return event if known is None or known.exit is None else event.with_exit(known.exit)

    def _of_host(self, step: Step) -> Event | None:
        """A change of a host, for watches that are not about members of this registry alone."""
        if self._query.here or not self._has_hosts:
            return None
        event = Event(step.kind, None, Revision(step.revision, self._feed.epoch))
        event.host = step.host
        return event

    def _matches(self, entry: Entry | None) -> bool:
        return entry is not None and self._query.matches(entry) and (self._where is None or bool(self._where(entry)))
