"""`LiveEntries`: the members that match, as a dictionary that follows the registry.

It keeps the ids that match, true through the change feed: the state at one revision, then every change after it. It
reads the feed at each use, so it needs no thread, and a change that was acknowledged before is in every later answer
(L5). The entries themselves it does not keep. Each is looked up when it is handed out: there is no second truth that
could differ from the registry's, and no dead process in it (S2).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar, overload

from ._client.client import Client
from ._client.follower import Follower
from ._of_one_process import OfOneProcess
from ._only_sync import OnlySync
from ._os.forking import add_fork_aware
from ._os.locks import locked
from ._other_location import name_other_location
from ._reads import AnyId, RegistryReads, Where, check_where
from ._store.query import Query
from ._watching import Watch, instant_after, timed_out
from .errors import InvalidProcessId, NotRegistered, RegistryClosed, Timeout
from .model import Entry, Kind, ProcessId

L = TypeVar("L", bound="LiveEntries")
T = TypeVar("T")
D = TypeVar("D")

_ENDS = (Kind.unregistered, Kind.died)


class _MatchingIds:
    """The ids whose entries match, those of processes that have just died included. Safe for threads."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._lock = threading.RLock()
        self._ids: set[ProcessId] = set()
        self._restart()
        add_fork_aware(self)

    @locked
    def read(self) -> list[ProcessId]:
        """The ids at this moment, sorted."""
        while (event := self._follower.take()) is not None:
            if event.kind is Kind.lagged:
                self._restart()
            elif event.entry is None:
                # A host can be reached or not: its members match as before, and each is looked up when it is given out.
                continue
            elif event.kind in _ENDS:
                self._ids.discard(event.entry.process_id)
            else:
                self._ids.add(event.entry.process_id)
        return sorted(self._ids)

    def _restart(self) -> None:
        self._ids = {entry.process_id for entry in self._follower.snapshot}

    def quiesce(self) -> None:
        """Hold nothing: another thread that reads goes on in the parent."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            # A thread of the parent may hold the locks, and be in the middle of a change.
            self._lock = threading.RLock()
            self._follower.after_fork()


def check_predicate(predicate: object) -> None:
    if not callable(predicate):
        raise TypeError(f"predicate={predicate!r}: give a function of this mapping")


class LiveEntriesBase(OfOneProcess, Mapping[ProcessId, Entry]):
    """The part that does not depend on how its owner waits."""

    _instead = "make another one there, or pass dict() of it for its entries"

    def __init__(self, reads: RegistryReads, client: Client, query: Query, where: Where | None) -> None:
        check_where(where)
        # Keeps the registry open, as a watch does.
        self._registry = reads
        self._client = client
        self._query = query
        self._where = where
        self._closed = False
        self._matching = _MatchingIds(Follower(reads._reader, query, where, None))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._query}{' closed' if self._closed else ''}>"

    def close(self) -> None:
        """End it: every later use raises `RegistryClosed`. Closing twice does nothing.

        >>> team = registry.follow()
        >>> team.close()
        >>> len(team)
        Traceback (most recent call last):
        adsum.errors.RegistryClosed: ...
        """
        self._closed = True

    def __getitem__(self, id: AnyId) -> Entry:
        self._require_open()
        process_id = self._registry._id(id)
        entry = self._living(process_id)
        if entry is None:
            error = NotRegistered(f"{process_id} is not registered, or does not match the conditions of {self!r}")
            raise name_other_location(error, self._client)
        return entry

    @overload
    def get(self, id: AnyId, default: None = None) -> Entry | None: ...
    @overload
    def get(self, id: AnyId, default: D) -> Entry | D: ...
    def get(self, id: AnyId, default: D | None = None) -> Entry | D | None:
        """The entry under an id, or `default` where none matches. Errors: `InvalidProcessId`; `RegistryClosed`.

        >>> registry.follow().get("planner-1", "unknown")
        'unknown'
        """
        try:
            return self[id]
        except NotRegistered:
            return default

    def __contains__(self, id: object) -> bool:
        try:
            self[id]  # type: ignore[index]
        except (NotRegistered, InvalidProcessId):
            return False
        return True

    def __iter__(self) -> Iterator[ProcessId]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def values(self) -> ValuesView[Entry]:
        """The entries at this moment, sorted by id.

        >>> registration = registry.register("planner-1")
        >>> [entry.process_id.local_id for entry in registry.follow().values()]
        ['planner-1']
        """
        return self._read().values()

    def items(self) -> ItemsView[ProcessId, Entry]:
        """The ids and entries at this moment, sorted by id.

        >>> registration = registry.register("planner-1")
        >>> [(id.local_id, entry.metadata.type.value) for id, entry in registry.follow().items()]
        [('planner-1', 'agent')]
        """
        return self._read().items()

    def _read(self) -> dict[ProcessId, Entry]:
        self._require_open()
        found = ((process_id, self._living(process_id)) for process_id in self._matching.read())
        return {process_id: entry for process_id, entry in found if entry is not None}

    def _living(self, process_id: ProcessId) -> Entry | None:
        """The entry under an id, if its process is alive and it matches."""
        entry = self._registry._matching(process_id, self._query)
        return entry if entry is None or self._where is None or self._where(entry) else None

    def _require_open(self) -> None:
        if self._closed:
            raise RegistryClosed("these live entries were closed; follow again")

    def _not_true(self, timeout: float | None) -> Timeout:
        return timed_out("the predicate was not true", timeout)


class LiveEntries(LiveEntriesBase, OnlySync):
    """The members that match some conditions, as a read-only mapping of `ProcessId` to `Entry` that is true at each
    use: it has what `find` with the same conditions would give at that moment. Made by `Registry.follow`.

    - A plain string is completed to an id, as in every call.
    - It is safe for threads, survives the registrar and `fork`, and costs no thread and no descriptor.
    - It ends when it or its registry is closed, and keeps the registry open.

    >>> with registry.follow(capability="planning") as planners:
    ...     print(len(planners))
    ...     registration = registry.register("planner-1", capabilities={"planning"})
    ...     print(len(planners), "planner-1" in planners)
    ...     entry = registration.update(capabilities={"review"})
    ...     print(dict(planners))
    0
    1 True
    {}
    """

    def __enter__(self: L) -> L:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, predicate: Callable[[LiveEntries], T], timeout: float | None = None) -> T:
        """Wait until `predicate`, a function of this mapping, returns a true value, and return that.

        It is called at once, and again after each change of a member that matches. `timeout` is in seconds; None waits
        without bound. Errors: `Timeout`; `RegistryClosed`; what `predicate` raises.

        >>> planners = registry.follow(capability="planning")
        >>> future = registry.register_nowait("planner-1", capabilities={"planning"})
        >>> planners.wait(lambda planners: len(planners) >= 1, timeout=10)
        True
        """
        check_predicate(predicate)
        until = instant_after(timeout)
        if found := predicate(self):
            return found
        with Watch(self._registry, self._client, self._query, self._where, None) as alarm:
            while not (found := predicate(self)):
                try:
                    alarm.next(max(0.0, until - time.monotonic()))
                except Timeout:
                    raise self._not_true(timeout) from None
        return found
