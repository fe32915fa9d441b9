"""Watches: the events of a `Follower`, and a `Waiter` that wakes the consumer when there may be another.

`Watch` blocks its thread while it waits; `adsum.aio.watch` has the one that is awaited. `_waiting` has the
calls that wait for a state.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TypeVar

from ._client.bell import Waiter
from ._client.client import Client
from ._client.follower import Follower
from ._event_delivery import EventDelivery, OnEvent
from ._foreign import reraise_foreign
from ._of_one_process import OfOneProcess
from ._only_sync import OnlySync
from ._os.forking import add_fork_aware, notice_fork, own
from ._reads import RegistryReads, Where, check_where
from ._store.query import Query
from .errors import RegistryClosed, Timeout
from .model import Entry, Event, Revision

W = TypeVar("W", bound="Watch")


class WatchBase(OfOneProcess):
    """The part of a watch that does not depend on how its consumer waits."""

    _instead = "make another one there"

    def __init__(
        self,
        reads: RegistryReads,
        client: Client,
        query: Query,
        where: Where | None,
        since: int | None,
        *,
        has_hosts: bool = False,
    ) -> None:
        if since is not None and not is_count(since):
            raise ValueError(f"since={since!r}: give the revision of a watch or an event, or None to begin now")
        check_where(where)
        # Keeps the registry open: one that no reference keeps is closed, and its watches with it.
        self._registry = reads
        self._client = client
        self._query = query
        self._follower = Follower(reads._reader, query, where, since, has_hosts=has_hosts)
        self._waiter = Waiter(client.bell, client.reader.registry_exists)
        self._reset_after_fork()
        self._closed = False
        client.watches.add(self)
        add_fork_aware(self)

    def _reset_after_fork(self) -> None:
        """Begin without a consumer."""
        raise NotImplementedError

    def _close_waiter(self) -> None:
        """Close the waiter of a closed watch, unless a consumer uses it. That consumer calls this when it returns."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._query} revision={self.revision}{' closed' if self._closed else ''}>"

    @property
    def snapshot(self) -> list[Entry]:
        """The entries that matched at the revision at which the events start; after a ``lagged`` event, those at the
        revision at which they start again.

        It is the state of the tables, exact at that revision: the owner of an entry in it may have died since, and then
        a ``died`` event follows. Members of hosts that could not be reached are in it, and their `reach` says so. Ask
        `lookup` before you rely on one.

        >>> registration = registry.register("planner-1")
        >>> with registry.watch() as watch:
        ...     print([entry.process_id.local_id for entry in watch.snapshot])
        ['planner-1']
        """
        return self._follower.snapshot

    @property
    def revision(self) -> Revision:
        """The consumer has every event up to this revision. Give it as `since` to a later watch to resume.

        >>> with registry.watch() as watch:
        ...     before = watch.revision
        >>> registration = registry.register("planner-1")
        >>> with registry.watch(since=before) as watch:
        ...     print(watch.next(timeout=10).kind.value)
        registered
        """
        return self._follower.revision

    @property
    def _is_connected(self) -> bool:
        """Whether a registrar can report the next change, as far as this process knows."""
        return self._waiter.is_connected

    def _take(self) -> Event | None:
        if self._client.closed:
            raise RegistryClosed("this registry was closed; open another")
        if self._closed:
            raise RegistryClosed("this watch was closed; open another, with since= to go on where it was")
        return self._follower.take()

    def stop(self) -> None:
        """End the watch, and wake a consumer that waits in it. It does not wait for the consumer, so it is safe in any
        thread and signal handler.

        >>> watch = registry.watch()
        >>> watch.stop()
        >>> list(watch)
        []
        """
        if not own[0]:
            notice_fork()
        self._closed = True
        self._waiter.wake()
        self._close_waiter()

    # fork

    def quiesce(self) -> None:
        """Hold nothing: a consumer that waits in the parent goes on waiting."""

    def after_fork(self, *, child: bool) -> None:
        if child and self._waiter.is_open:
            # A thread of the parent may hold the locks, and the parent uses the epoll.
            self._reset_after_fork()
            self._follower.after_fork()
            self._waiter.reset()


class Watch(WatchBase, OnlySync):
    """The changes of a registry as they happen: an iterator of `Event` that ends when it is closed. Made by
    `Registry.watch`.

    - `snapshot`, `revision`: where it begins, and how far the consumer is.
    - It is safe for threads: each event goes to one of them.
    - It survives the registrar, and `fork`: in the child it goes on from the same revision.
    - It ends with its registry, and keeps that open.

    >>> with registry.watch(capability="planning") as watch:
    ...     registration = registry.register("planner-1", capabilities={"planning"})
    ...     removed = registration.unregister()
    ...     for event in watch:
    ...         print(event.kind.value, event.revision)
    ...         if event.kind == "unregistered":
    ...             break
    registered 1
    unregistered 2
    """

    # `next` dials a registrar for so many seconds at least, though its timeout is shorter: to start one takes a moment.
    _dial_seconds = 0.0
    # Calls the function of `Registry.watch(on_event=)`.
    _delivery: EventDelivery | None = None

    def _deliver_to(self: W, on_event: OnEvent | None) -> W:
        """Call a function, if there is one, for each event from now on, in a thread of the watch."""
        if on_event is not None:
            self._delivery = EventDelivery(self, on_event)
        return self

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch, and wake a thread that waits in it. Closing twice does nothing. With `on_event`, no call of it
        begins any more; one that has begun is waited for, a second at most.

        >>> watch = registry.watch()
        >>> watch.close()
        >>> watch.next()
        Traceback (most recent call last):
        adsum.errors.RegistryClosed: this watch was closed; ...
        """
        self.stop()
        if self._delivery is not None:
            self._delivery.end()

    def __iter__(self: W) -> W:
        return self

    def __next__(self) -> Event:
        try:
            return self.next()
        except RegistryClosed:
            raise StopIteration from None

    def next(self, timeout: float | None = None) -> Event:
        """Wait for the next event and return it.

        `timeout` is in seconds; None, the default, waits without bound. With 0 it returns an event that has happened
        already.

        Errors: `Timeout`; `RegistryClosed` where the watch or its registry is closed; those of starting a registrar.

        >>> watch = registry.watch("planner-1")
        >>> registration = registry.register("planner-1")
        >>> watch.next(timeout=10).kind.value
        'registered'
        >>> watch.next(timeout=0)
        Traceback (most recent call last):
        adsum.errors.Timeout: no event came within 0 s; ...
        """
        until = instant_after(timeout)
        if not own[0]:
            notice_fork()
        me = threading.get_ident()
        try:
            # Inside the `try`, and released by the first call of the `finally`: see `_os.locks`.
            if not self._consumer_lock.acquire(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)):
                raise timed_out("no event came", timeout)
            self._waiting_thread = me
            # After `listen` it takes again, for a commit before `listen` did not ring here; a later one rings.
            while (event := self._take()) is None:
                left = until - time.monotonic()
                if left <= 0:
                    raise timed_out("no event came", timeout)
                if self._waiter.is_connected:
                    self._waiter.wait(left)
                else:
                    self._waiter.listen(max(left, self._dial_seconds))
            return event
        finally:
            if self._waiting_thread == me:
                self._waiting_thread = 0
            try:
                self._consumer_lock.release()
            except RuntimeError as error:
                # This thread did not acquire the lock in time.
                reraise_foreign(error)
            self._close_waiter()

    def _reset_after_fork(self) -> None:
        # Held by the thread that takes the next event. It has an owner: a release by another thread fails.
        self._consumer_lock = threading.RLock()
        # The thread that holds the lock and uses the waiter; 0 for none.
        self._waiting_thread = 0

    def _close_waiter(self) -> None:
        if not self._closed or self._waiting_thread:
            return
        try:
            if self._consumer_lock.acquire(blocking=False):
                self._waiter.close()
        finally:
            try:
                self._consumer_lock.release()
            except RuntimeError as error:
                reraise_foreign(error)


def instant_after(timeout: object) -> float:
    """The instant on the monotonic clock at which a wait of `timeout` seconds ends; infinity for None."""
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or math.isnan(timeout):
        raise ValueError(f"timeout={timeout!r}: give seconds, or None for as long as it takes")
    return time.monotonic() + timeout


def timed_out(what: str, seconds: float | None) -> Timeout:
    """The error of a wait of so many seconds."""
    return Timeout(f"{what} within {seconds:g} s; wait longer with timeout=, or list the members with adsum ls")


def is_count(value: object) -> bool:
    """Whether the value is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
