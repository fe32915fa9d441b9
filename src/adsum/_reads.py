"""The reads of a registry, for `Registry` and `AsyncRegistry` alike.

They involve no other process: an answer comes from shared memory, and the kernel confirms that its owner lives.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, TypeVar, Unpack, cast, overload

from ._choosing import Choice, Chooser, check_choice
from ._client.client import Client
from ._client.keeper import OnLost
from ._client.launch import Launch, parse_command
from ._foreign import reraise_foreign
from ._gauges import require_value
from ._instrument import Observation, instrument
from ._ordering import Key, OrderBy, check_order, ordered
from ._os import folder as folders
from ._os import identity
from ._os.liveness import descriptors_needed
from ._os.usage import Usage, usage_of
from ._other_location import name_other_location
from ._store import locations
from ._store.entry_cache import HotEntries
from ._store.feed import Position, TableFeed, position_of
from ._store.history import Step
from ._store.layout import MAX_DEPARTURES
from ._store.query import ALL, AllNamespaces, Conditions, Query, parse_query
from ._store.reader import Reader
from ._validation import AnyHealth, check_flag, parse_id
from .errors import (
    InvalidClusterAddress,
    InvalidProcessId,
    InvalidQuery,
    NotRegistered,
    OtherHost,
    PermissionDenied,
    RegistryClosed,
)
from .model import CleanupLatency, Departure, Entry, Host, Limits, ProcessId, Revision, Stats

T = TypeVar("T")
AnyId: TypeAlias = str | tuple[str, str, str]
Where: TypeAlias = Callable[[Entry], object]


class RegistryReads(Mapping[ProcessId, Entry]):
    """The readable part of a registry: a mapping of the ids of one namespace to the entries of living members.

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
        registrar_command: Sequence[str] | None,
        on_lost: OnLost | None,
        cluster: str | None,
    ) -> None:
        identity.require_linux()
        self.folder: Path = locations.locate(name, path)
        named_node = node if node is not None else os.environ.get("ADSUM_NODE") or None
        self._follows_node = named_node is None
        self._node: str = identity.host_name() if named_node is None else named_node
        self._namespace: str = namespace
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(f"limits={limits!r}: give an adsum.Limits, or None for the usual ones")
        if on_lost is not None and not callable(on_lost):
            raise TypeError(f"on_lost={on_lost!r}: give a function of the lost entries, or None")
        self._limits = limits or Limits()
        self.registrar_command = parse_command(registrar_command)
        for word, part in (("namespace", namespace), ("node", self._node)):
            if not isinstance(part, str):
                raise InvalidProcessId(f"{word}={part!r}: give a non-empty string")
        parse_id("any", namespace, self._node)
        folders.check(self.folder)
        self._forget_hot()
        self._chooser = Chooser()
        with descriptors_needed():
            launch = Launch(self._limits, self.registrar_command)
            self._client = Client(self.folder, launch, on_lost, is_named=path is None)
        self._reader: Reader = self._client.reader
        try:
            self._reader.attach()
            if limits is not None and self.limits != limits:
                _warn_of_limits(self.folder, limits, self.limits)
            self._join(cluster)
        except BaseException:
            self._client.close()
            raise

    def _join(self, cluster: str | None) -> None:
        """Join a cluster, if one is named, and keep its bridge running."""
        address = os.environ.get("ADSUM_CLUSTER", "") if cluster is None else cluster
        if not isinstance(address, str):
            raise InvalidClusterAddress(
                f"cluster={address!r}: give a string such as etcd://10.0.0.1:2379,10.0.0.2:2379/prod, or None for "
                "$ADSUM_CLUSTER"
            )
        self._cluster = address
        if address:
            from ._client.cluster import join, wanted

            asked = wanted(address, os.environ)
            join(self.folder, asked)
            self._client.keep_bridge(asked)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.folder} namespace={self.namespace!r} node={self._node!r}>"

    @property
    def namespace(self) -> str:
        """The namespace that completes a plain string to an id.

        >>> adsum.open(namespace="team-7").namespace
        'team-7'
        """
        return self._namespace

    @property
    def node(self) -> str:
        """The node that completes a plain string to an id: the one that this object was opened with, else
        ``$ADSUM_NODE``, else the registry's own.

        The registry's own node is the name that the host had when the registry was made. A host that is renamed later,
        or a process under another host name, changes nothing.

        >>> adsum.open(node="rack-7").node
        'rack-7'
        """
        if self._follows_node:
            self._reader.attach()
            self._follow(self._reader.node or self._node)
        return self._node

    def _follow(self, node: str) -> None:
        if node != self._node:
            self._node = node
            self._forget_hot()

    def _forget_hot(self) -> None:
        # The hot entries of this namespace and node, and the hot entries of the cache of which they were taken.
        self._hot: HotEntries = {}
        self._all_hot: object = None

    @property
    def limits(self) -> Limits:
        """The limits of the registry; before it is made, those that this object would make it with.

        >>> adsum.open("small", limits=adsum.Limits(max_entries=2)).limits.max_entries
        2
        """
        if self._reader is not _CLOSED:
            self._reader.attach()
            self._limits = self._reader.limits or self._limits
        return self._limits

    @property
    def _named_node(self) -> str | None:
        """The node that this object was opened with; None where it uses the registry's own."""
        return None if self._follows_node else self._node

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    # One entry

    def lookup(self, id: AnyId, *, unreachable: bool = False) -> Entry | None:
        """Look up the entry of one member: of the living holder of `id`, or None where no living process holds it.

        In a cluster, a member of a host that cannot be reached now is left out, unless `unreachable` is True: then its
        entry is the last one that was heard of, and its `reach` says so.

        It costs about a microsecond, whatever the size of the registry (L2, P1). ``registry[id]`` raises
        `NotRegistered` instead of giving None.

        Errors: `InvalidProcessId`; `RegistryClosed`.

        >>> registration = registry.register("planner-1", endpoint="http://127.0.0.1:9001")
        >>> registry.lookup("planner-1").metadata.endpoint
        'http://127.0.0.1:9001'
        >>> registry.lookup("planner-2") is None
        True
        """
        if unreachable is not False:
            check_flag("unreachable", unreachable)
            return self._reader.lookup_anywhere(self._id(id))
        if instrument.lookup is not None:
            return self._observed_lookup(id)
        try:
            hot = self._hot.get(id)  # type: ignore[arg-type]
            if hot is not None:
                counters, bucket, version, words, mutex_at, mutex, stamp_at, stamp, entry = hot
                # Current, and of a living owner: the same checks as in `Reader.lookup`.
                if counters[bucket] == version and words[mutex_at] == mutex and words[stamp_at] == stamp:
                    return entry
            if isinstance(id, str):
                return self._lookup_string(id)
            if isinstance(id, tuple):
                return self._reader.lookup(id)
        except TypeError as error:
            # A tuple of unhashable parts: the check below says so.
            reraise_foreign(error)
        return self._reader.lookup(self._id(id))

    def _lookup_string(self, id: str) -> Entry | None:
        entry = self._reader.lookup((self._namespace, self._node, id), keep_hot=True)
        if (all_hot := self._reader.hot) is not self._all_hot:
            self._hot, self._all_hot = all_hot.setdefault((self._namespace, self._node), {}), all_hot
        return self._lookup_again(id) if entry is None else entry

    def _lookup_again(self, id: str) -> Entry | None:
        """After a lookup that found nothing. That read may have found the registry made, with a node of its own."""
        node = self._reader.node
        if not self._follows_node or node is None or node == self._node:
            return None
        self._follow(node)
        return self._reader.lookup((self._namespace, node, id))

    def _observed_lookup(self, id: AnyId) -> Entry | None:
        with Observation(instrument.lookup, "lookup", self.folder, id, self.namespace) as observation:
            entry = self._reader.lookup(self._id(id))
            observation.succeeded(0 if entry is None else 1)
        return entry

    def __getitem__(self, id: AnyId) -> Entry:
        entry = self.lookup(id)
        if entry is None:
            said = f"{self._id(id)} is not registered (or its process has died); see registry.list_all()"
            raise name_other_location(NotRegistered(said), self._client)
        return entry

    @overload
    def get(self, id: AnyId, default: None = None) -> Entry | None: ...
    @overload
    def get(self, id: AnyId, default: T) -> Entry | T: ...
    def get(self, id: AnyId, default: T | None = None) -> Entry | T | None:
        """`lookup`, with `default` instead of None. Errors: as `lookup`.

        >>> registry.get("planner-1", "unknown")
        'unknown'
        """
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
        """The living entries of the registry's namespace, sorted by id: one snapshot.

        >>> both = registry.register_many([("a", {}), ("b", {})])
        >>> [entry.process_id.local_id for entry in registry.values()]
        ['a', 'b']
        """
        return self._snapshot().values()

    def items(self) -> ItemsView[ProcessId, Entry]:
        """The ids and entries of the registry's namespace, sorted by id: one snapshot.

        >>> registration = registry.register("planner-1")
        >>> [(id.local_id, entry.metadata.type.value) for id, entry in registry.items()]
        [('planner-1', 'agent')]
        """
        return self._snapshot().items()

    def _snapshot(self) -> dict[ProcessId, Entry]:
        return {entry.process_id: entry for entry in self.find()}

    # Many entries

    def find(
        self,
        *,
        where: Where | None = None,
        order_by: OrderBy | None = None,
        limit: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Entry]:
        """Find the living entries for which all conditions hold, sorted by id. They are of one snapshot (S3).

        - `capability`: one name, or several that an entry must all have.
        - `type`, `health_status`, `node`: the value that an entry must have.
        - `namespace`: the registry's own by default; ``adsum.ALL`` for all namespaces.
        - `custom`, `resources`: names with the values that an entry must have, or with a range: `at_least`, `at_most`,
          `between`. A mapping in `custom` asks for what is in it; None asks that there is no value.
        - `any_capability`, `not_capability`: one name or several; an entry must have one of them at least, or none.
        - `hosts`: ``"here"`` for members of this registry alone; None, the default, includes those of other hosts of
          the
          cluster. `unreachable`: True includes the members of hosts that cannot be reached now; see `Entry.reach`.
        - `id_prefix`: the beginning of the local id. `pid`: the process that owns the entry.
        - `text`: a part of the local id, the description, a capability or `doing`, in upper or lower case.
        - `where`: a function of an entry; only entries for which it gives a true value are kept.
        - `order_by`: the name of a gauge or of a number in `resources`, the smallest first; ``"-name"`` for the largest
          first; a function of an entry; or a tuple of these, of which the later ones decide between equals. Equals are
          sorted by id. Entries without the number, and those for which a function gives None, come last. None sorts by
          id.
        - `limit`: at most so many entries, the first of that order; None for all.

        The cost grows with the number of matches of the rarest condition among `capability`, `type`, `health_status`
        and `node`, and values of `custom` and `resources` that the registry indexes (`Limits.indexed`) (P3). All others
        are compared with each of these entries; without an indexed one, and with ``adsum.ALL``, with all entries.

        Errors: `InvalidQuery`, a `ValueError`, for a condition that no entry could meet; `RegistryClosed`.

        >>> team = registry.register_many([
        ...     ("planner-1", {"capabilities": {"planning"}, "resources": {"slots": 4}}),
        ...     ("planner-2", {"capabilities": {"planning"}, "health_status": "degraded"}),
        ...     ("coder-1", {"capabilities": {"coding"}}),
        ... ])
        >>> [entry.process_id.local_id for entry in registry.find(capability="planning", health_status="healthy")]
        ['planner-1']
        >>> [entry.process_id.local_id for entry in registry.find(resources={"slots": adsum.at_least(4)})]
        ['planner-1']
        >>> registry.find(where=lambda entry: entry.metadata.resources.get("slots", 0) > 4)
        []
        >>> [entry.process_id.local_id for entry in registry.find(order_by="-slots", limit=2)]
        ['planner-1', 'coder-1']
        """
        if instrument.find is not None:
            return self._observed_find(where, order_by, limit, conditions)
        return self._find(where, order_by, limit, conditions)

    def _find(
        self, where: Where | None, order_by: OrderBy | None, limit: int | None, conditions: Conditions
    ) -> list[Entry]:
        if limit is not None:
            _check_limit(limit)
        if where is not None:
            check_where(where)
        keys = () if order_by is None else check_order(order_by)
        query = parse_query(self.namespace, conditions)
        if limit is not None and where is None and not keys:
            return self._reader.find_first(query, limit)
        found = self._reader.find(query)
        if where is not None:
            found = [entry for entry in found if where(entry)]
        found = ordered(found, keys)
        return found if limit is None else found[:limit]

    def _observed_find(
        self, where: Where | None, order_by: OrderBy | None, limit: int | None, conditions: Conditions
    ) -> list[Entry]:
        with Observation(instrument.find, "find", self.folder, None, self._searched(conditions)) as observation:
            found = self._find(where, order_by, limit, conditions)
            observation.succeeded(len(found))
        return found

    def find_by_capability(self, capability: str | Collection[str]) -> list[Entry]:
        """Find the living entries that have a capability, or all of several. Errors: as `find`.

        >>> registration = registry.register("planner-1", capabilities={"planning", "review"})
        >>> len(registry.find_by_capability({"planning", "review"}))
        1
        """
        return self.find(capability=capability)

    def find_by_type(self, type: str) -> list[Entry]:
        """Find the living entries of one `ProcessType`. Errors: as `find`.

        >>> registration = registry.register("storage", type="service")
        >>> [entry.process_id.local_id for entry in registry.find_by_type("service")]
        ['storage']
        """
        return self.find(type=type)

    def find_by_health(self, health_status: AnyHealth) -> list[Entry]:
        """Find the living entries with one `HealthStatus`. Errors: as `find`.

        >>> registration = registry.register("planner-1", health_status="degraded")
        >>> [entry.process_id.local_id for entry in registry.find_by_health("degraded")]
        ['planner-1']
        """
        return self.find(health_status=health_status)

    def list_all(self, namespace: str | AllNamespaces | None = None) -> list[Entry]:
        """Find all living entries of a namespace, the registry's own by default, ``adsum.ALL`` for all of them. Errors:
        as `find`.

        >>> both = registry.register_many([("a", {}), (("other", "node", "b"), {})])
        >>> [str(entry.process_id) for entry in registry.list_all("other")]
        ['other/node/b']
        """
        return self.find(namespace=namespace)

    def count(self, *, where: Where | None = None, **conditions: Unpack[Conditions]) -> int:
        """Count the entries that `find` would give. Without `where` no entry is decoded. Errors: as `find`.

        >>> both = registry.register_many([("a", {"capabilities": {"planning"}}), ("b", {})])
        >>> registry.count(capability="planning"), len(registry)
        (1, 2)
        """
        if where is not None:
            # `find` takes a `limit`, which is no condition of `count`.
            parse_query(self.namespace, conditions)
            return len(self.find(where=where, **conditions))
        if instrument.find is not None:
            return self._observed_count(conditions)
        return self._reader.count(parse_query(self.namespace, conditions))

    def _observed_count(self, conditions: Conditions) -> int:
        with Observation(instrument.find, "count", self.folder, None, self._searched(conditions)) as observation:
            number = self._reader.count(parse_query(self.namespace, conditions))
            observation.succeeded(number)
        return number

    def _searched(self, conditions: Conditions) -> str:
        """The namespace of a search whose conditions are not checked yet."""
        namespace = conditions.get("namespace")
        return namespace if isinstance(namespace, str) else "*" if namespace is ALL else self.namespace

    def choose(
        self,
        *,
        by: Choice = "random",
        key: Key | None = None,
        where: Where | None = None,
        prefer: Literal["here"] | None = None,
        **conditions: Unpack[Conditions],
    ) -> Entry | None:
        """Choose one living member for which all conditions hold, None where there is none.

        The conditions are those of `find`; `health_status` is ``healthy`` by default.

        - `by`: ``random``, the default; ``round_robin``, where this registry object takes the members in turn and
          begins at a random one, so that many callers spread evenly; or a function of the members, sorted by id, that
          returns one of them or None. Three others compare the numbers that `key` gives:

          - ``least``: the member with the smallest number, of equals the first by id. Many callers that choose at the
            same time all get the same one.
          - ``two_choices``: of two members drawn at random the one with the smaller number. Many callers spread, and
            rarely get a busy member (M. Mitzenmacher, "The power of two choices in randomized load balancing").
          - ``weighted``: at random, each member with a probability in proportion to its number.

        - `key`: the name of a gauge, of a number in `resources` where a member has no such gauge, or a function of an
          entry that returns a number or None. ``least`` and ``two_choices`` need it, and take a member without the
          number only where no other is to be had. For ``weighted`` it is ``"weight"`` by default; a member without the
          number has weight 1, one with a number of 0 or less is never chosen.
        - `prefer`: ``"here"`` to take a member of another host of the cluster only where this registry has none that
          would be chosen.

        Errors: as `find`; `ValueError` where `by` or `key` is none of these, or returns anything else.

        >>> team = registry.register_many([(f"coder-{n}", {"capabilities": {"coding"}}) for n in range(3)])
        >>> chosen = [registry.choose(by="round_robin", capability="coding") for _ in range(3)]
        >>> sorted(entry.process_id.local_id for entry in chosen)
        ['coder-0', 'coder-1', 'coder-2']
        >>> busy = registry.update("coder-0", resources={"load": 7}), registry.update("coder-2", resources={"load": 2})
        >>> registry.choose(by="least", key="load", capability="coding").process_id.local_id
        'coder-2'
        """
        if prefer is not None:
            if prefer != "here":
                raise InvalidQuery(f"prefer={prefer!r}: give 'here', or None to prefer no host")
            here: Conditions = {**conditions, "hosts": "here"}
            if (chosen := self.choose(by=by, key=key, where=where, **here)) is not None:
                return chosen
        conditions.setdefault("health_status", "healthy")
        query = parse_query(self._namespace, conditions)
        if by != "random" or key is not None:
            check_choice(by, key)
        if where is None and not callable(by) and instrument.find is None:
            reader = self._reader
            kept = reader.kept(query)
            if kept is not None and kept.entries:
                # Only the chosen one has to be alive.
                index = self._chooser.index_in(kept, by, key, query)
                if index is None:
                    return None
                if reader.lives(kept, member := kept.members[index]):
                    return member.present()
        return self._chooser.choose(self.find(where=where, **conditions), by, key, query)

    def gauge(self, id: AnyId, name: str) -> float:
        """Read the present value of a gauge of a living member, from shared memory.

        Errors: `NotRegistered`; `InvalidQuery`, a `ValueError`, where the member has no gauge of this name;
        `RegistryClosed`.

        >>> registration = registry.register("worker-1", gauges={"load": 0.25})
        >>> registry.gauge("worker-1", "load")
        0.25
        """
        return require_value(self[id], name)

    def set_gauge(self, id: AnyId, name: str, value: float) -> None:
        """Set a gauge of any living member, in shared memory and without a request, as `Registration.gauges` does.

        Errors: `NotRegistered`; `Stale` where the id changes hands meanwhile; `InvalidQuery`, a `ValueError`, where the
        member has no gauge of this name; `InvalidMetadata` for NaN and for what is no number; `RegistryClosed`.

        >>> registration = registry.register("worker-1", gauges={"load": 0.25})
        >>> registry.set_gauge("worker-1", "load", 0.5)
        >>> registry.gauge("worker-1", "load")
        0.5
        """
        entry = self[id]
        _require_own(entry)
        self._client.gauges.set(entry, name, value)

    def usage(self, id: AnyId) -> Usage:
        """Read what the process of a living member uses: processor time and memory, as the kernel counts them now. For
        a thread or a task it is what its whole process uses.

        Errors: `NotRegistered`; `PermissionDenied` where ``/proc`` does not show the process; `RegistryClosed`.

        >>> registration = registry.register("planner-1")
        >>> registry.usage("planner-1").memory_bytes > 1_000_000
        True
        """
        entry = self[id]
        _require_own(entry)
        usage = usage_of(entry.pid)
        # It is alive after the reading, so its pid was no other process's then.
        if self[entry.process_id].owner != entry.owner:
            return self.usage(id)
        if usage is None:
            raise PermissionDenied(f"/proc does not show process {entry.pid} to this one; mount it without hidepid")
        return usage

    # The registry itself

    def stats(self) -> Stats:
        """Read the registry in numbers, at most a second old. All are zero before the first registration.

        Errors: `RegistryClosed`.

        >>> registration = registry.register("planner-1")
        >>> numbers = registry.stats()
        >>> numbers.entries, numbers.owners, numbers.registrar_pid is not None
        (1, 1, True)
        """
        nothing = Stats(0, 0, 0, 0, self.limits.max_memory_bytes, None, 0.0, 0, 0, CleanupLatency(), {})
        return self._reader.reports.stats() or nothing

    def audit(self) -> list[str]:
        """List every violation of the invariants I1 to I5 in one snapshot of the tables; empty when there is none.

        It reads all tables. Errors: `RegistryClosed`.

        >>> registration = registry.register("planner-1")
        >>> registry.audit()
        []
        """
        return self._reader.reports.audit()

    def hosts(self) -> list[Host]:
        """List the other hosts of the cluster, sorted by name; none where the registry is part of no cluster. Errors:
        `RegistryClosed`.

        >>> registry.hosts()
        []
        """
        return self._reader.reports.hosts()

    def departures(self, limit: int | None = None) -> list[Departure]:
        """List how the newest `limit` of the ended entries ended, newest first. The registry keeps the last 1,000.

        `Departure.exit` says how a process ended. It becomes known after the death: on Linux 6.15 and newer when the
        parent has reaped the process, on older kernels where the parent registered it as a `Popen` or `Process`.

        Errors: `ValueError` for an impossible limit; `RegistryClosed`.

        >>> registry.register("planner-1").unregister()
        True
        >>> [(departure.entry.process_id.local_id, departure.how) for departure in registry.departures(1)]
        [('planner-1', 'unregistered')]
        """
        if limit is not None:
            _check_limit(limit)
        return self._reader.reports.departures(MAX_DEPARTURES if limit is None else limit)

    def _id(self, id: object) -> ProcessId:
        return parse_id(id, self.namespace, self.node)

    def _matching(self, process_id: ProcessId, query: Query) -> Entry | None:
        """What `find` with this query would give of one id."""
        reader = self._reader
        entry = reader.lookup_anywhere(process_id) if query.unreachable else reader.lookup(process_id)
        return entry if entry is None or query.matches(entry) else None

    def _query(self, id: AnyId | None, conditions: Conditions) -> Query:
        """The query of a watch: the conditions of `find`, and one id."""
        query = parse_query(self.namespace, conditions)
        return query if id is None else query.about(self._id(id), conditions)

    def _close_reads(self) -> None:
        self._follows_node = False
        self._reader = _CLOSED
        self._forget_hot()


def _warn_of_limits(folder: Path, given: Limits, own: Limits) -> None:
    names = [name for name in given.__struct_fields__ if getattr(given, name) != getattr(own, name)]
    warnings.warn(
        f"limits= has no effect: the registry in {folder} exists and keeps its own limits, which differ in "
        f"{', '.join(names)}; to change them, end its members and remove the folder",
        # The caller of `adsum.open`.
        stacklevel=5,
    )


def _require_own(entry: Entry) -> None:
    """Errors: `OtherHost` for a member of another host."""
    if entry.origin is not None:
        raise OtherHost(
            f"{entry.process_id} is a member of the host {entry.origin.host}, whose memory and processes this one does "
            "not see; ask a program there",
            entry=entry,
        )


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


# How `adsum.views` follows a registry, beside its public calls.


def change_feed(registry: RegistryReads, since: int | None = None) -> TableFeed[list[Entry]]:
    """Every change of the registry, in all namespaces, after the revision `since` or from the present on. The base is
    every stored entry, also of processes that have died since."""
    return TableFeed(
        lambda: registry._reader, lambda since: registry._reader.state_at(None, since), since=position_of(since)
    )


def changes_since(registry: RegistryReads, since: Revision) -> tuple[Revision, list[Step] | None]:
    """The present revision, and the changes of all namespaces from `since` to it, oldest first; None where the history
    does not reach back so far."""
    position, steps = registry._reader.steps_since(Position(since.epoch, int(since)))
    return Revision(position.revision, position.epoch), steps


def present_revision(registry: RegistryReads) -> Revision:
    """The present revision, with its epoch: a read of memory, and never behind an acknowledged change."""
    position = registry._reader.position()
    return Revision(position.revision, position.epoch)
