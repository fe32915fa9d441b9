"""Watches: a place in the history, and an ear that says when to look.

`Watch` waits by blocking; `adsum.aio` has the one that is awaited.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TypeAlias, TypeVar

from ._client.bell import Waiter
from ._client.client import Client
from ._client.follower import Follower
from ._os.forking import add_fork_aware
from ._reads import AnyId, RegistryReads, Where, check_where
from ._store.query import Conditions, Query, parse_query
from .errors import RegistryClosed, Timeout
from .model import Entry, Event, Revision

W = TypeVar("W", bound="Watch")
Lock: TypeAlias = "threading.Lock | threading.RLock"


class WatchBase:
    """The part of a watch that does not depend on how its consumer waits.

    - `snapshot`: the entries that matched at the revision at which the events start; after a ``lagged`` event, those at
      the revision at which they start again. It is the tables' state, exact at that revision: an entry in it may belong
      to a process that has died since, and whose ``died`` event follows. Ask `lookup` before trusting one.
    - `revision`: everything up to here was given out; give it as `since` to a later watch to go on from here.
    """

    def __init__(
        self, reads: RegistryReads, client: Client, query: Query, where: Where | None, since: int | None
    ) -> None:
        if since is not None and not _is_count(since):
            raise ValueError(f"since={since!r}: give a revision that a watch or an event told, or None for from now on")
        check_where(where)
        # A registry that nobody else keeps is closed, and a watch ends with it.
        self._registry = reads
        self._client = client
        self._query = query
        self._follower = Follower(reads._reader, query, where, since)
        self._waiter = Waiter(client.bell)
        self._reset_after_fork()
        self._closed = False
        client.watches.add(self)
        add_fork_aware(self)

    def _reset_after_fork(self) -> None:
        self._turn = self._new_lock()
        # The thread that has the turn, for as long as it needs the ear.
        self._waiting = 0

    def _new_lock(self) -> Lock:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._query} revision={self.revision}{' closed' if self._closed else ''}>"

    @property
    def snapshot(self) -> list[Entry]:
        return self._follower.snapshot

    @property
    def revision(self) -> Revision:
        return self._follower.revision

    def _take(self) -> Event | None:
        if self._client.closed:
            raise RegistryClosed("this registry was closed; open another")
        if self._closed:
            raise RegistryClosed("this watch was closed; open another, with since= to go on where it was")
        return self._follower.take()

    def stop(self) -> None:
        """Close without waiting for whoever waits, which then stops at once; safe in any thread and signal handler."""
        self._closed = True
        self._waiter.wake()
        self._shut()

    # fork

    def quiesce(self) -> None:
        """Nothing to wait for: who waits in the parent goes on waiting."""

    at_exit = quiesce

    def after_fork(self, *, child: bool) -> None:
        if child and self._waiter.is_open:
            # The locks may be held by threads that are not here, and the epoll is the parent's.
            self._reset_after_fork()
            self._follower.after_fork()
            self._waiter.reset()

    def _shut(self) -> None:
        # Who waits has the lock, and comes here when it stops.
        if self._closed and not self._waiting and self._turn.acquire(blocking=False):
            try:
                self._waiter.close()
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
        until = until_when(timeout)
        try:
            # In here, for what a signal handler raises may come in the moment in which the lock is taken.
            if not self._turn.acquire(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)):
                raise too_late("nothing happened", timeout)
            self._waiting = threading.get_ident()
            while (event := self._take()) is None:
                left = until - time.monotonic()
                if left <= 0:
                    raise too_late("nothing happened", timeout)
                if self._waiter.hears:
                    self._waiter.wait(left)
                else:
                    self._waiter.listen(left)
            return event
        finally:
            self._leave()

    def _new_lock(self) -> Lock:
        # One that knows whose it is.
        return threading.RLock()

    def _leave(self) -> None:
        if self._waiting == threading.get_ident():
            self._waiting = 0
        try:
            self._turn.release()
        except RuntimeError:
            # Its turn never came.
            return
        self._shut()


def until_when(timeout: object) -> float:
    """The moment on the monotonic clock at which a wait of `timeout` seconds ends; infinity for None."""
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or math.isnan(timeout):
        raise ValueError(f"timeout={timeout!r}: give seconds, or None for as long as it takes")
    return time.monotonic() + timeout


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
        if id is not None and (count != 1 or where is not None or conditions):
            raise TypeError("give an id or conditions, not both")
        if not _is_count(count):
            raise ValueError(f"count={count!r}: give a number from 0 up")
        check_where(where)
        # Whether there is enough already or not, a mistake is told now.
        parse_query(reads.namespace, conditions)
        self.reads = reads
        self._id = None if id is None else reads._id(id)
        self._count = count
        self._where = where
        self._conditions = conditions

    @property
    def namespace(self) -> str:
        if self._id is not None:
            return self._id.namespace
        return self._conditions.get("namespace") or self.reads.namespace

    def __str__(self) -> str:
        if self._id is not None:
            return f"{self._id} was"
        conditions = ", ".join(f"{name}={value!r}" for name, value in self._conditions.items() if value is not None)
        number = "1 member" if self._count == 1 else f"{self._count} members"
        return f"{number}{' with ' if conditions else ''}{conditions} {'was' if self._count == 1 else 'were'}"

    def too_late(self, seconds: float | None) -> Timeout:
        """The error of whoever has waited for it long enough."""
        return too_late(f"{self} not registered", seconds)

    def found(self) -> Entry | list[Entry] | None:
        """What stands now, if it is enough."""
        if self._id is not None:
            return self.reads.lookup(self._id)
        found = self.reads.find(where=self._where, **self._conditions)
        return found if len(found) >= self._count else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
