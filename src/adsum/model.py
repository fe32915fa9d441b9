"""The records of the registry: ids, entries, and their changes.

A **member** is the thing registered: an operating-system process, or a thread or asyncio task inside one. Its **entry**
maps a `ProcessId` to the process that owns it and to `Metadata`. An entry never changes in place: a change makes a new
entry with a higher **revision**, the number of the change in the registry's history. The revision at which an id was
registered is its **incarnation**; a later registration of the same id has a larger one.

All records are frozen, inside too, because one decoded entry is shared by all callers that look it up. They hold plain
data only, so they are in no cycle and the garbage collector skips them (``gc=False``): a process may keep many.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

from ._entry_forms import EntryForms
from ._frozen import EMPTY_DICT, EMPTY_LIST, EMPTY_SET, FrozenDict, FrozenList, freeze
from .claim_record import ClaimRecord as ClaimRecord
from .cluster_records import Host as Host
from .cluster_records import Origin as Origin
from .cluster_records import Reach as Reach
from .limits import Limits as Limits
from .stats import CleanupLatency as CleanupLatency
from .stats import ClusterStats as ClusterStats
from .stats import RegistrarStats as RegistrarStats
from .stats import Stats as Stats

EPOCH = datetime.fromtimestamp(0, UTC)
_set = msgspec.structs.force_setattr


class ProcessId(NamedTuple):
    """The unique name of an entry: a namespace, a node, and a local id, each a non-empty string.

    Wherever a call takes an id, a plain string is completed with the namespace and the node of the registry.

    >>> id = adsum.ProcessId("default", "host-1", "planner-1")
    >>> str(id), id.local_id
    ('default/host-1/planner-1', 'planner-1')
    """

    namespace: str
    node: str
    local_id: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.node}/{self.local_id}"

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, other)


# For type checkers alone, which else take ``"name" in registry`` for a comparison that is always false; ids are
# compared in every lookup, and the tuple's own way is the quicker one.
delattr(ProcessId, "__eq__")


_Count = Annotated[int, msgspec.Meta(ge=0)]


class Owner(NamedTuple):
    """The identity of an operating-system process, different from that of every other one since boot.

    `start_time` is field 22 of ``/proc/PID/stat``: clock ticks between boot and the start of the process (proc(5));
    0 when it could not be read. `pidfd_inode` is the inode of the process's pidfd, unique since boot on Linux 6.9 and
    newer (pidfs); 0 on older kernels, where all pidfds share one.

    >>> owner = registry.register("planner-1").entry.owner
    >>> owner.pid == os.getpid()
    True
    """

    pid: _Count
    start_time: _Count
    pidfd_inode: _Count


class OwningMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The member that owns another one: with its process, the entry of the other one ends too. See ``owned_by`` of
    `Registry.register`.

    - `process_id`, `incarnation`: the entry that it had when it became the owning member, or was handed over.
    - `pid`, `start_time`, `pidfd_inode`: its process, whose death ends the owned entry; see `owner`.

    Fields are only ever appended: stored rows are arrays.

    >>> planner = registry.register("planner-1")
    >>> with subprocess.Popen(["sleep", "60"]) as tool:
    ...     owned_by = registry.register("tool-1", tool, owned_by="planner-1").entry.owned_by
    ...     tool.kill()
    >>> owned_by.process_id.local_id, owned_by.pid == os.getpid()
    ('planner-1', True)
    """

    process_id: ProcessId
    incarnation: _Count
    pid: _Count
    start_time: _Count
    pidfd_inode: _Count

    @property
    def owner(self) -> Owner:
        """The identity of its process.

        >>> planner = registry.register("planner-1")
        >>> registry.register("tool-1", owned_by=planner.entry).entry.owned_by.owner == planner.entry.owner
        True
        """
        return Owner(self.pid, self.start_time, self.pidfd_inode)


class ProcessType(StrEnum):
    """The role of a member. Members of this class compare equal to their strings.

    >>> registration = registry.register("storage", type="service")
    >>> registration.entry.metadata.type == "service", adsum.ProcessType.service.value
    (True, 'service')
    """

    agent = "agent"
    service = "service"
    coordinator = "coordinator"
    resource_manager = "resource_manager"


class HealthStatus(StrEnum):
    """How well a member is, in its own words. It is no statement about being alive, which only the kernel makes.

    >>> [status.value for status in adsum.HealthStatus]
    ['healthy', 'degraded', 'unhealthy']
    """

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class HealthSource(StrEnum):
    """Which process set a health status: the member's own, another one, or the registrar because a heartbeat is late.

    >>> registration = registry.register("planner-1")
    >>> registration.update_health("degraded").health_source.value
    'process'
    """

    process = "process"
    other = "other"
    registrar = "registrar"


class Metadata(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a member states about itself: the keywords of `register` and `update`.

    - `type`: its role, a `ProcessType`; agent by default.
    - `capabilities`: words for what it can do; members are found by them. At most `Limits.max_capabilities`.
    - `resources`: what it has: names with numbers or strings.
    - `coordination_variables`: names of the shared variables it takes part in.
    - `health_status`: a `HealthStatus`; healthy by default.
    - `node_affinity`: names of the nodes it prefers to be near.
    - `created_at`, `last_health_check`: UTC times, ``created_at <= last_health_check <= now``; by default the time of
      the registration.
    - `endpoint`: the URL or address at which it is reached; None by default.
    - `custom`: any plain data: None, bool, int, float, str, bytes, and lists and string-keyed maps of them. A msgspec
      struct, a dataclass or a model of pydantic is stored as the plain data of its fields; see `Entry.custom_as`.
    - `heartbeat`: the seconds within which it promises a heartbeat, None for no promise; `last_health_check` is the
      time of the last one. In a call that registers, ``"thread"`` promises one each second, and has adsum send them.
    - `gauges`: the names of its gauges, with their values at the registration; at most 8. The present values are
      `Entry.gauges`.
    - `slots`: how many claims it takes at a time, from 1 to 1,024; None, the default, means 1. See `Registry.claim`.
    - `description`: what it is for, in words; at most 4 KiB. `version`: that of its program; one line of at most 128
      bytes. `protocols`: words for the protocols that it speaks at its endpoint, such as a2a, mcp, http, grpc and unix;
      at most 32 words of at most 32 bytes. `doing`: what it does at the moment; one line of at most 200 characters, set
      anew by `update`. All are empty by default.

    Fields are only ever appended: stored rows are arrays.

    >>> registration = registry.register(
    ...     "planner-1", capabilities={"planning"}, resources={"slots": 4}, custom={"model": "small"}
    ... )
    >>> metadata = registry["planner-1"].metadata
    >>> metadata.resources["slots"], metadata.custom, metadata.health_status.value
    (4, {'model': 'small'}, 'healthy')
    """

    type: ProcessType = ProcessType.agent
    capabilities: frozenset[str] = frozenset()
    resources: dict[str, int | float | str] = EMPTY_DICT
    coordination_variables: frozenset[str] = frozenset()
    health_status: HealthStatus = HealthStatus.healthy
    node_affinity: list[str] = EMPTY_LIST
    created_at: datetime = EPOCH
    last_health_check: datetime = EPOCH
    endpoint: str | None = None
    custom: dict[str, Any] = EMPTY_DICT
    heartbeat: float | None = None
    gauges: dict[str, float] = EMPTY_DICT
    slots: int | None = None
    description: str = ""
    version: str = ""
    protocols: frozenset[str] = EMPTY_SET
    doing: str = ""

    def __post_init__(self) -> None:
        # It runs at every decoding and is a third of its time. So it is written out, skips frozen values, and gives all
        # empty ones the same object.
        if type(resources := self.resources) is not FrozenDict:
            _set(self, "resources", freeze(resources) if resources else EMPTY_DICT)
        if type(affinity := self.node_affinity) is not FrozenList:
            _set(self, "node_affinity", freeze(affinity) if affinity else EMPTY_LIST)
        if type(custom := self.custom) is not FrozenDict:
            _set(self, "custom", freeze(custom) if custom else EMPTY_DICT)
        if type(gauges := self.gauges) is not FrozenDict:
            _set(self, "gauges", freeze(gauges) if gauges else EMPTY_DICT)
        # Most members state none. Each empty set of its own would take 216 bytes, and be visited by the garbage
        # collector.
        if not self.protocols:
            _set(self, "protocols", EMPTY_SET)


class Entry(EntryForms, msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One registered member, as of `revision`.

    - `process_id`: its unique name.
    - `pid`, `start_time`, `pidfd_inode`: the process that owns the entry; see `owner`.
    - `incarnation`: the revision at which the id was registered, larger than every earlier one in this registry.
    - `registered_at`, `last_updated`: UTC times, ``registered_at <= last_updated``.
    - `revision`: the registry's revision at which the entry was last written.
    - `metadata`: a `Metadata`.
    - `health_source`: the `HealthSource` of `metadata.health_status`, which was set or confirmed at
      `metadata.last_health_check`. It is ``process`` also where no process has said anything; see `health_said_by`.
      After a hand-over, what the former process has said is the word of another one.
    - `row_place`: where its heartbeat and its gauges are in shared memory; 0 where it has neither.
    - `claims`: a `ClaimRecord` for each slot that a process has claimed, the oldest first; see `Registry.claim`.
    - `owned_by`: the `OwningMember` with whose process the entry ends too; None for most.
    - `origin`: an `Origin` where the member is of another host of the cluster; None for members of this registry.
    - `fencing_token`: the number of its name in the whole cluster, where it was registered with ``everywhere=True``:
      every later holder of the name, on any host, has a larger one. 0 otherwise, and below 0 where the name was handed
      over and the cluster has not given the new token yet.
    - `id`, `owner`, `endpoint`, `custom`: short for parts of these. `gauges`: their present values. `host` and `reach`:
      where in the cluster the member is.

    Fields are only ever appended: stored rows are arrays.

    >>> registration = registry.register("planner-1")
    >>> entry = registration.update(endpoint="http://127.0.0.1:9001")
    >>> entry.pid == os.getpid(), entry.incarnation, entry.revision
    (True, 1, 2)
    """

    process_id: ProcessId
    pid: int
    start_time: int
    pidfd_inode: int
    incarnation: int
    registered_at: datetime
    last_updated: datetime
    revision: int
    metadata: Metadata
    health_source: HealthSource = HealthSource.process
    row_place: int = 0
    claims: tuple[ClaimRecord, ...] = ()
    owned_by: OwningMember | None = None
    origin: Origin | None = None
    fencing_token: int = 0

    def __hash__(self) -> int:
        return hash((self.process_id, self.revision))

    @property
    def owner(self) -> Owner:
        """The identity of the process whose death ends the entry. For a member of another host it represents that
        host: `pid` is 0, which no process has, and `start_time` the number of the host in this registry.

        >>> registry.register("planner-1").entry.owner.pid == os.getpid()
        True
        """
        if self.origin is not None:
            return Owner(0, self.origin.number, 0)
        # `Owner(...)` takes 1.7 times as long, and a search makes thousands of them.
        return tuple.__new__(Owner, (self.pid, self.start_time, self.pidfd_inode))


class Kind(StrEnum):
    """What an event reports. `lagged` is about the watch itself: it missed changes, and goes on with a new snapshot.

    The last three are about another host of the cluster, once for all of its members: it cannot be reached; it can be
    reached again; and all that it missed to say meanwhile has arrived. Each `unreachable` is followed by `returned` and
    `whole`. A host that is new, or was forgotten or had left, is `whole` without having returned.

    >>> [kind.value for kind in adsum.Kind]
    ['registered', 'updated', 'unregistered', 'died', 'lagged', 'unreachable', 'returned', 'whole']
    """

    registered = "registered"
    updated = "updated"
    unregistered = "unregistered"
    died = "died"
    lagged = "lagged"
    unreachable = "unreachable"
    returned = "returned"
    whole = "whole"


class Revision(int):
    """A revision, an int, with the `epoch` of its registry: a registry that is made anew counts from the beginning.

    Watches and events have it; give it as `since` to go on from there.

    >>> with registry.watch() as watch:
    ...     registration = registry.register("planner-1")
    ...     revision = watch.next(timeout=10).revision
    >>> revision, revision.epoch != 0
    (1, True)
    """

    def __new__(cls, number: int, epoch: int = 0) -> "Revision":
        revision = super().__new__(cls, number)
        revision.epoch = epoch
        return revision

    epoch: int

    @property
    def life(self) -> int:
        """The former name of `epoch`.

        >>> adsum.Revision(1, epoch=7).life
        7
        """
        return self.epoch

    def __reduce__(self) -> tuple[type["Revision"], tuple[int, int]]:
        return Revision, (int(self), self.epoch)


class _EventFields(NamedTuple):
    kind: Kind
    entry: Entry | None
    revision: Revision
    previous: Entry | None = None


class Event(_EventFields):
    """One change, as a watch reports it: a tuple of four, with the attributes `exit` and `host`.

    - `kind`: a `Kind`. A hand-over is ``updated``: the id was never free.
    - `entry`: the entry after the change, the last one where it ended; None for ``lagged``, and for changes of a host.
    - `host`: for ``unreachable``, ``returned`` and ``whole``, the name of the host; else empty.
    - `revision`: the change's own `Revision`, one more than that of the change before; for ``lagged`` that of the new
      snapshot.
    - `previous`: the entry before the change, where there was one and it goes on; None otherwise.
    - `exit`: for ``died``, the `Departure.exit` if it is known when the watch reads the change; else None. It often
      becomes known a moment later: `Registry.departures` has it then. So it is no item of the tuple, and does not count
      when events are compared.

    >>> registration = registry.register("planner-1")
    >>> with registry.watch("planner-1") as watch:
    ...     entry = registration.update(custom={"task": 7})
    ...     event = watch.next(timeout=10)
    >>> event.kind.value, event.previous.metadata.custom, event.entry.metadata.custom
    ('updated', {}, {'task': 7})
    """

    exit: int | None = None
    host: str = ""

    def with_exit(self, exit: int | None) -> "Event":
        """The same event, with this `exit`.

        >>> event = adsum.Event(adsum.Kind.died, None, adsum.Revision(7))
        >>> event.with_exit(-9).exit, event.with_exit(-9) == event
        (-9, True)
        """
        event = Event(*self)
        event.exit = exit
        event.host = self.host
        return event


class Departure(msgspec.Struct, frozen=True, array_like=True):
    """How an entry ended.

    - `entry`: the entry as it last was.
    - `how`: ``died`` (the kernel reported the death), ``unregistered``, ``replaced`` (its process was found dead when
      another one took the id), ``handed_over`` or ``owner_died`` (the process of the member that owned it died). For
      members of another host also ``left`` (its registry ended in order, or another host has its node now) and
      ``unreachable_forgotten`` (the host could not be reached for so long that it was given up: how the member ended is
      not known), and ``unknown`` (it is there no more, and how it ended was missed). ``name_lost`` where another host
      has the name that the member held in the whole cluster.
    - `at`: the UTC time of the removal. Where `time_known` is False, the process died at some time before.
    - `detection`: seconds from the kernel's report of the death to the removal. 0 where there is no such figure, which
      does not mean at once: no process has died, or no registrar of this host got the report.
    - `exit`: how the process ended, as `subprocess.Popen.returncode` says it: an exit code, or the negative number of
      the signal that ended it. None where no process has died, and where it is not known, or not yet: see
      `Registry.departures`.

    >>> registry.register("planner-1").unregister()
    True
    >>> registry.departures(limit=1)[0].how
    'unregistered'
    """

    entry: Entry
    how: str
    at: datetime
    detection: float
    exit: int | None = None

    @property
    def time_known(self) -> bool:
        """Whether `at` is also when the process died, to within `detection`. False where it died at an unknown time
        before: no registrar ran then, or it was found dead when another process took the id. True where no process
        died, and for members of other hosts, of which `at` is the time of the news.

        >>> registry.register("planner-1").unregister()
        True
        >>> registry.departures(limit=1)[0].time_known
        True
        """
        # A dead owner ends the entries of its dependants too.
        is_by_death = self.how in ("died", "replaced", "owner_died") and self.entry.origin is None
        return not is_by_death or self.detection > 0
