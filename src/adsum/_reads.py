"""The reading half of a registry, the same for `Registry` and `AsyncRegistry`: no call here speaks to any process."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, TypeVar, Unpack, overload

from ._client.client import Client
from ._os import folder as folders
from ._os import identity
from ._os.liveness import descriptors_needed
from ._store.feed import Base, Position, TableFeed
from ._store.query import Conditions, Query, parse_query
from ._store.reader import Reader
from ._validation import parse_id
from .errors import InvalidProcessId, NotRegistered, RegistryClosed
from .model import CleanupLatency, Departure, Entry, HealthStatus, Limits, ProcessId, Stats

T = TypeVar("T")
AnyId: TypeAlias = "str | tuple[str, str, str]"
Where: TypeAlias = Callable[[Entry], object]
Choice: TypeAlias = "Literal['random', 'round_robin'] | Callable[[list[Entry]], Entry | None]"

# Whose turn it is, is remembered for so many questions of each registry.
MAX_TURNS = 1024


class RegistryReads(Mapping[ProcessId, Entry]):
    """Reads of one registry, as a mapping of the ids of one namespace to their living entries.

    Unlike other mappings a registry is equal only to itself, and can be hashed: what it holds changes all the time.
    """

    def _open(
        self,
        name: str,
        path: str | os.PathLike[str] | None,
        namespace: str,
        node: str | None,
        limits: Limits | None,
    ) -> Client:
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
            client = Client(self.folder, self.limits)
        self._reader: Reader = client.reader
        try:
            self._reader.attach()
        except BaseException:
            client.close()
            raise
        return client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.folder} namespace={self.namespace!r} node={self.node!r}>"

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    # One entry

    def lookup(self, id: AnyId) -> Entry | None:
        """The entry of a living process, or None where there is none or it is dead.

        Shared memory only: about a microsecond, whatever the size of the registry (L2, P1). Errors: `InvalidProcessId`.
        """
        try:
            if isinstance(id, str):
                return self._reader.lookup((self.namespace, self.node, id))
            if isinstance(id, tuple):
                return self._reader.lookup(id)
        except TypeError:
            # A tuple of what cannot be hashed: what is wrong with it is said below.
            pass
        return self._reader.lookup(self._id(id))

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
        _check_limit(limit)
        check_where(where)
        found = self._reader.find(parse_query(self.namespace, conditions))
        if where is not None:
            found = [entry for entry in found if where(entry)]
        return found if limit is None else found[:limit]

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
        query = parse_query(self.namespace, conditions)
        return self._reader.count(query) if where is None else len(self.find(where=where, **conditions))

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

    def _mark_closed(self) -> None:
        self._reader = _CLOSED


def _first_turn(_: Query) -> itertools.count[int]:
    return itertools.count(random.randrange(1 << 30))


def check_where(where: object) -> None:
    if where is not None and not callable(where):
        raise TypeError(f"where={where!r}: give a function of an entry, or None")


def _check_limit(limit: object) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit={limit!r}: give a whole number from 0 up, or None")


class _Closed(Reader):
    """What a closed registry reads from. It spares every lookup the question whether the registry is open."""

    def __init__(self) -> None:
        """Opens nothing."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RegistryClosed("this registry was closed; open another")

    lookup = find = count = census = all_entries = departures = audit = stats = _refuse  # type: ignore[assignment]
    position = steps_since = state_at = _refuse  # type: ignore[assignment]


_CLOSED = _Closed()
