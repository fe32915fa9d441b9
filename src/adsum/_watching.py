"""Watches: a place in the history, and an ear that says when to look.

`Watch` waits by blocking; `adsum.aio` has the one that is awaited.
"""

from __future__ import annotations

import threading
import time
from typing import TypeVar

from ._client.bell import Ear
from ._client.client import Client
from ._client.follower import Follower
from ._reads import AnyId, RegistryReads, Where
from ._store.query import Conditions, Query
from .errors import RegistryClosed, Timeout
from .model import Entry, Event, Revision

W = TypeVar("W", bound="Watch")


class WatchBase:
    """The part of a watch that does not depend on how its consumer waits.

    - `snapshot`: the entries that matched at the revision at which the events start; after a ``lagged`` event, those at
      the revision at which they start again. It is the tables' state, exact at that revision: an entry in it may belong
      to a process that has died since, and whose ``died`` event follows. Ask `lookup` before trusting one.
    - `revision`: everything up to here was given out; give it as `since` to a later watch to go on from here.
    """

    def __init__(self, client: Client, query: Query, where: Where | None, since: int | None) -> None:
        if since is not None and not _is_count(since):
            raise ValueError(f"since={since!r}: give a revision that a watch or an event told, or None for from now on")
        self._query = query
        self._follower = Follower(client.reader, query, where, since)
        self._ear = Ear(client.bell)
        self._turn = threading.Lock()
        self._closed = False
        client.watches.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._query} revision={self.revision}{' closed' if self._closed else ''}>"

    @property
    def snapshot(self) -> list[Entry]:
        return self._follower.snapshot

    @property
    def revision(self) -> Revision:
        return self._follower.revision

    def _take(self) -> Event | None:
        if self._closed:
            raise RegistryClosed("this watch was closed; open another, with since= to go on where it was")
        return self._follower.take()

    def stop(self) -> None:
        """Close without waiting for whoever waits, which then stops at once; safe in any thread and signal handler."""
        self._closed = True
        self._ear.wake()
        self._shut()

    def _shut(self) -> None:
        # Who waits has the lock, and comes here when it stops.
        if self._closed and self._turn.acquire(blocking=False):
            try:
                self._ear.close()
            finally:
                self._turn.release()


class Watch(WatchBase):
    """The changes of a registry as they happen. Made by `Registry.watch`; an iterator that ends when it is closed.

    Safe for threads: each event goes to one of them.
    """

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop following; whoever waits in it stops at once. Closing twice is fine."""
        self.stop()

    def __iter__(self: W) -> W:
        return self

    def __next__(self) -> Event:
        try:
            return self.next()
        except RegistryClosed:
            raise StopIteration from None

    def next(self, timeout: float | None = None) -> Event:
        """The next event, waiting for it at most `timeout` seconds, None for as long as it takes.

        Errors: `Timeout`, `RegistryClosed` where the watch is closed, and whatever keeps a registrar from being there.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            with self._turn:
                while (event := self._take()) is None:
                    if not self._ear.hears:
                        self._ear.listen()
                        continue
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        raise too_late("nothing happened", timeout)
                    self._ear.wait(left)
                return event
        finally:
            self._shut()


def too_late(what: str, seconds: float | None) -> Timeout:
    return Timeout(f"{what} within {seconds:g} s; wait longer with timeout=, or see adsum ls for who is there")


class Wanted:
    """What `wait_for` waits for, and whether it is there."""

    def __init__(
        self,
        reads: RegistryReads,
        id: AnyId | None,
        count: int,
        where: Where | None,
        conditions: Conditions,
    ) -> None:
        if not _is_count(count):
            raise ValueError(f"count={count!r}: give a number from 0 up")
        self._reads = reads
        self._id = None if id is None else reads._id(id)
        self._count = count
        self._where = where
        self._conditions = conditions

    def __str__(self) -> str:
        if self._id is not None:
            return f"{self._id} was"
        conditions = ", ".join(f"{name}={value!r}" for name, value in self._conditions.items())
        return f"{self._count} members{' with ' if conditions else ''}{conditions} were"

    def found(self) -> Entry | list[Entry] | None:
        """What stands now, if it is enough."""
        if self._id is not None:
            return self._reads.lookup(self._id)
        found = self._reads.find(where=self._where, **self._conditions)
        return found if len(found) >= self._count else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
