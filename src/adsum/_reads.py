"""The reads of a registry, for `Registry` and `AsyncRegistry` alike: they involve no other process."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, TypeVar, Unpack, cast, overload

from . import _instrument
from ._client.client import Client
from ._os import folder as folders
from ._os import identity
from ._os.liveness import descriptors_needed
from ._store.feed import Base, Position, TableFeed
from ._store.query import Conditions, Query, parse_query
from ._store.reader import Reader
from ._validation import parse_id
from .errors import AdsumError, InvalidProcessId, NotRegistered, RegistryClosed
from .model import CleanupLatency, Departure, Entry, HealthStatus, Limits, ProcessId, Stats

T = TypeVar("T")
AnyId: TypeAlias = "str | tuple[str, str, str]"
Where: TypeAlias = Callable[[Entry], object]
Choice: TypeAlias = "Literal['random', 'round_robin'] | Callable[[list[Entry]], Entry | None]"

# A registry remembers the turns of so many different `choose(by="round_robin", ...)`.
MAX_TURNS = 1024


class RegistryReads(Mapping[ProcessId, Entry]):
    """A registry that can be read: a mapping of the ids of one namespace to the entries of living members.

    Unlike other mappings a registry is equal only to itself, and can be hashed: its content changes all the time.
    """

    def __init__(
        self,
        name: str,
        *,
        path: str | os.PathLike[str] | None,
        namespace: str,
        node: str | None,
        limits: Limits | None,
    ) -> None:
        identity.require_linux()
        self.folder: Path = folders.locate(name, path)
        self.node: str = node if node is not None else os.environ.get("ADSUM_NODE") or socket.gethostname()
        self.namespace: str = namespace
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits={limits!r}: give an adsum.Limits, or None for the usual ones")
        self.limits = limits or Limits()
        for word, part in (("namespace", namespace), ("node", self.node)):
            if not isinstance(part, str):
                raise InvalidProcessId(f"{word}={part!r}: give a non-empty string")
        parse_id("any", namespace, self.node)
        folders.check(self.folder)
        self._turns = lru_cache(MAX_TURNS)(_first_turn)
        with descriptors_needed():
            self._client = Client(self.folder, self.limits)
        self._reader: Reader = self._client.reader
        try:
            self._reader.attach()
        except BaseException:
            self._client.close()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.folder} namespace={self.namespace!r} node={self.node!r}>"

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    # One entry

    def lookup(self, id: AnyId) -> Entry | None:
        """The entry of a living process, or None where there is none or it is dead.

        Shared memory only: about a microsecond, whatever the size of the registry (L2, P1). Errors: `InvalidProcessId`.
        """
        if (begin := _instrument.lookup) is not None:
            return self._observed_lookup(id, begin)
        try:
            if isinstance(id, str):
                return self._reader.lookup((self.namespace, self.node, id))
            if isinstance(id, tuple):
                return self._reader.lookup(id)
        except TypeError:
            # A tuple of unhashable parts: the check below says so.
            pass
        return self._reader.lookup(self._id(id))

    def _observed_lookup(self, id: AnyId, begin: _instrument.Begin) -> Entry | None:
        observer = begin("lookup", self.folder, id, self.namespace)
        try:
            entry = self._reader.lookup(self._id(id))
        except AdsumError as error:
            observer.failed(error)
            raise
        observer.succeeded(0 if entry is None else 1)
        return entry

    def __getitem__(self, id: AnyId) -> Entry:
        entry = self.lookup(id)
        if entry is None:
            raise NotRegistered(f"{self._id(id)} is not registered (or its process has died); see registry.list_all()")
        return entry

    @overload
    def get(self, id: AnyId, default: None = None) -> Entry | None: ...
    @overload
    def get(self, id: AnyId, default: T) -> Entry | T: ...
    def get(self, id: AnyId, default: T | None = None) -> Entry | T | None:
        entry = self.lookup(id)
        return default if entry is None else entry

    def __contains__(self, id: object) -> bool:
        try:
            return self.lookup(id) is not None  # type: ignore[arg-type]
        except InvalidProcessId:
            return False

    def __iter__(self) -> Iterator[ProcessId]:
        return iter([entry.process_id for entry in self.find()])

    def __len__(self) -> int:
        return self.count()

    def values(self) -> ValuesView[Entry]:
        return self._snapshot().values()

    def items(self) -> ItemsView[ProcessId, Entry]:
        return self._snapshot().items()

    def _snapshot(self) -> dict[ProcessId, Entry]:
        return {entry.process_id: entry for entry in self.find()}

    # Many entries

    def find(
        self, *, where: Where | None = None, limit: int | None = None, **conditions: Unpack[Conditions]
    ) -> list[Entry]:
        """The living entries for which every condition holds, sorted by id: one snapshot, never a dead process.

        - `capability`: one, or several that an entry must all have.
        - `type`, `health_status`, `node`: that value.
        - `namespace`: the registry's own unless given.
        - `where`: called with each entry that is left; keeps those for which it answers true.
        - `limit`: at most so many.

        Costs as much as there are matches of the rarest condition (P3). Errors: `ValueError` for impossible conditions.
        """
        if (begin := _instrument.find) is not None:
            return self._observed_find(where, limit, conditions, begin)
        return self._find(where, limit, conditions)

    def _find(self, where: Where | None, limit: int | None, conditions: Conditions) -> list[Entry]:
        if limit is not None:
            _check_limit(limit)
        if where is not None:
            check_where(where)
        found = self._reader.find(parse_query(self.namespace, conditions))
        if where is not None:
            found = [entry for entry in found if where(entry)]
        return found if limit is None else found[:limit]

    def _observed_find(
        self, where: Where | None, limit: int | None, conditions: Conditions, begin: _instrument.Begin
    ) -> list[Entry]:
        observer = begin("find", self.folder, None, self._searched(conditions))
        try:
            found = self._find(where, limit, conditions)
        except AdsumError as error:
            observer.failed(error)
            raise
        observer.succeeded(len(found))
        return found

    def find_by_capability(self, capability: str | Collection[str]) -> list[Entry]:
        """`find` by what a process can do."""
        return self.find(capability=capability)

    def find_by_type(self, type: str) -> list[Entry]:
        """`find` by `ProcessType`."""
        return self.find(type=type)

    def find_by_health(self, health_status: str) -> list[Entry]:
        """`find` by `HealthStatus`."""
        return self.find(health_status=health_status)

    def list_all(self, namespace: str | None = None) -> list[Entry]:
        """Every living entry of a namespace, the registry's own unless given."""
        return self.find(namespace=namespace)

    def count(self, *, where: Where | None = None, **conditions: Unpack[Conditions]) -> int:
        """How many entries `find` would give."""
        if where is not None:
            parse_query(self.namespace, conditions)
            return len(self.find(where=where, **conditions))
        if (begin := _instrument.find) is not None:
            return self._observed_count(conditions, begin)
        return self._reader.count(parse_query(self.namespace, conditions))

    def _observed_count(self, conditions: Conditions, begin: _instrument.Begin) -> int:
        observer = begin("count", self.folder, None, self._searched(conditions))
        try:
            number = self._reader.count(parse_query(self.namespace, conditions))
        except AdsumError as error:
            observer.failed(error)
            raise
        observer.succeeded(number)
        return number

    def _searched(self, conditions: Conditions) -> str:
        """The namespace of a search whose conditions are not checked yet."""
        namespace = conditions.get("namespace")
        return namespace if isinstance(namespace, str) else self.namespace

    def choose(
        self, *, by: Choice = "random", where: Where | None = None, **conditions: Unpack[Conditions]
    ) -> Entry | None:
        """One member for which every condition holds, healthy unless another status is asked for; None without one.

        `by` is ``random``; ``round_robin``, where each `Registry` takes the members in turn, beginning at a random one,
        so that many callers spread evenly; or a callable given the members, sorted by id, that returns one of them or
        None. Errors: `ValueError` where it returns anything else.
        """
        conditions.setdefault("health_status", HealthStatus.healthy)
        query = parse_query(self.namespace, conditions)
        if not callable(by) and by not in ("random", "round_robin"):
            raise ValueError(f"by={by!r}: give 'random', 'round_robin' or a callable")
        members = self.find(where=where, **conditions)
        if not members:
            return None
        if callable(by):
            chosen = by(members)
            if chosen is not None and chosen not in members:
                raise ValueError(f"by={by!r} returned {chosen!r}: return one of the entries it is given, or None")
            return chosen
        if by == "random":
            return random.choice(members)
        return members[next(self._turns(query)) % len(members)]

    # The registry itself

    def stats(self) -> Stats:
        """The registry in numbers, at most a second old; all zero where nobody has registered anything yet."""
        nothing = Stats(0, 0, 0, 0, self.limits.max_memory_bytes, None, 0.0, 0, 0, CleanupLatency(), {})
        return self._reader.stats() or nothing

    def audit(self) -> list[str]:
        """Every violation of the invariants I1 to I5 in one snapshot of the tables; empty when all is sound."""
        return self._reader.audit()

    def departures(self, limit: int | None = None) -> list[Departure]:
        """How the entries that ended last ended, newest first, at most 1,000."""
        if limit is not None:
            _check_limit(limit)
        return self._reader.departures(1000 if limit is None else limit)

    def _change_feed(self) -> TableFeed[list[Entry]]:
        """Every change of the registry, in all namespaces, from the present on. The base is every stored entry, also of
        processes that have died since. For `adsum.views`."""
        reader = self._reader

        def read_all() -> Base[list[Entry]]:
            epoch, revision, entries = reader.all_entries()
            return Base(Position(epoch, revision), entries)

        return TableFeed(reader, read_all)

    def _id(self, id: object) -> ProcessId:
        return parse_id(id, self.namespace, self.node)

    def _query(self, id: AnyId | None, conditions: Conditions) -> Query:
        """The query of a watch: one id, or the conditions of `find`."""
        if id is None:
            return parse_query(self.namespace, conditions)
        if conditions:
            raise TypeError("give an id or conditions, not both")
        process_id = self._id(id)
        return Query(process_id.namespace, process_id=process_id)

    def _close_reads(self) -> None:
        self._reader = _CLOSED


def _first_turn(_: Query) -> itertools.count[int]:
    return itertools.count(random.randrange(1 << 30))


def check_where(where: object) -> None:
    if where is not None and not callable(where):
        raise TypeError(f"where={where!r}: give a function of an entry, or None")


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise ValueError(f"limit={limit!r}: give a whole number from 0 up, or None")


class _ClosedReader:
    """The reader of a closed registry raises at every use, so no lookup has to check whether the registry is open."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RegistryClosed("this registry was closed; open another")


_CLOSED = cast(Reader, _ClosedReader())
