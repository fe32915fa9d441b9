"""The records of the registry: who is registered, what is known of them, and what changed.

A **process** is whatever is registered: an operating-system process, or a thread or asyncio task inside one. Its
**entry** maps a `ProcessId` to the process that owns it and to `Metadata`. An entry never changes in place: a change
makes a new entry with a higher **revision**, the number of the change in the registry's history. The revision at which
an id was registered is its **incarnation**; whoever registers the same name later has a larger one.

All records are frozen, inside too: one decoded entry is shared by every caller that looks it up. They hold plain data
only, so they can be in no cycle, and the garbage collector is spared them (``gc=False``): a process may keep many.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

from ._frozen import EMPTY_DICT, EMPTY_LIST, FrozenDict, FrozenList, freeze

EPOCH = datetime.fromtimestamp(0, UTC)
_set = msgspec.structs.force_setattr


class ProcessId(NamedTuple):
    """The unique name of an entry; `str()` of it is ``namespace/node/local_id``."""

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
    """What tells an operating-system process from every other one since boot.

    `start_time` is field 22 of ``/proc/PID/stat``: clock ticks between boot and the start of the process (proc(5));
    0 when it could not be read. `pidfd_inode` is the inode of the process's pidfd, unique since boot on Linux 6.9 and
    newer (pidfs); 0 on older kernels, where all pidfds share one.
    """

    pid: _Count
    start_time: _Count
    pidfd_inode: _Count


class ProcessType(StrEnum):
    """What part a process plays."""

    agent = "agent"
    service = "service"
    coordinator = "coordinator"
    resource_manager = "resource_manager"


class HealthStatus(StrEnum):
    """How well a process says it is. It is never a statement about being alive: that is the kernel's."""

    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class HealthSource(StrEnum):
    """Who set a health status: the process itself, another one, or the registrar, because a sign of life is late."""

    process = "process"
    other = "other"
    registrar = "registrar"


class Metadata(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What is known of a process beyond its name. Fields are only ever appended: stored rows are arrays.

    - `type`: the part it plays, `ProcessType`; agent by default.
    - `capabilities`: what it can do; members are found by them. At most `Limits.max_capabilities`.
    - `resources`: what it has, a map of name to number or string.
    - `coordination_variables`: names of the shared variables it takes part in.
    - `health_status`: `HealthStatus`, healthy by default.
    - `node_affinity`: node names it would rather run near.
    - `created_at`, `last_health_check`: UTC times, ``created_at <= last_health_check <= now``.
    - `endpoint`: URL or address at which it is reached, or None.
    - `custom`: free plain data: None, bool, int, float, str, bytes, and lists and string-keyed maps of them.
    - `heartbeat`: seconds within which the process promises a sign of life, or None; `last_health_check` is the last.
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

    def __post_init__(self) -> None:
        # Runs at every decoding, where it is a third of the time: so it is written out, leaves alone what is frozen and
        # gives all empty ones the same.
        if type(resources := self.resources) is not FrozenDict:
            _set(self, "resources", freeze(resources) if resources else EMPTY_DICT)
        if type(affinity := self.node_affinity) is not FrozenList:
            _set(self, "node_affinity", freeze(affinity) if affinity else EMPTY_LIST)
        if type(custom := self.custom) is not FrozenDict:
            _set(self, "custom", freeze(custom) if custom else EMPTY_DICT)


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One registered process, as it stood at `revision`. Fields are only ever appended: stored rows are arrays.

    - `process_id`: its unique name.
    - `pid`, `start_time`, `pidfd_inode`: the owning OS process; see `Owner`.
    - `incarnation`: the revision at which it was registered, larger than every earlier one in this registry.
    - `registered_at`, `last_updated`: UTC times, ``registered_at <= last_updated``.
    - `revision`: the registry's revision at which it was last written.
    - `metadata`: see `Metadata`.
    - `health_source`: who set `metadata.health_status`; it was set, or confirmed, at `metadata.last_health_check`.
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

    def __hash__(self) -> int:
        return hash((self.process_id, self.revision))

    @property
    def owner(self) -> Owner:
        """The OS process whose life the entry shares."""
        return Owner(self.pid, self.start_time, self.pidfd_inode)


class Kind(StrEnum):
    """What happened to an entry. `lagged` happens to a watch instead: it missed changes and must read again."""

    registered = "registered"
    updated = "updated"
    unregistered = "unregistered"
    died = "died"
    lagged = "lagged"


class Revision(int):
    """A revision, and which registry it is of: one that was removed and made again counts from the beginning."""

    def __new__(cls, number: int, epoch: int = 0) -> Revision:
        revision = super().__new__(cls, number)
        revision.epoch = epoch
        return revision

    epoch: int

    @property
    def life(self) -> int:
        """The former name of `epoch`."""
        return self.epoch

    def __reduce__(self) -> tuple[type[Revision], tuple[int, int]]:
        return Revision, (int(self), self.epoch)


class Event(NamedTuple):
    """One change, as a watch sees it.

    - `kind`: what happened, `Kind`. A hand-over is ``updated``: the id was never free.
    - `entry`: the entry after the change, or as it last was where it ended; None for ``lagged``.
    - `revision`: the change's own, an int, one more than that of the change before; for ``lagged`` the new snapshot's.
    - `previous`: the entry before the change, where there was one and it goes on; None otherwise.
    """

    kind: Kind
    entry: Entry | None
    revision: Revision
    previous: Entry | None = None


class Departure(msgspec.Struct, frozen=True, array_like=True):
    """How an entry ended.

    `how` is ``died`` (the kernel gave word), ``unregistered`` (it was asked to go), ``replaced`` (it was found dead by
    whoever took its id) or ``handed_over``. `at` is the UTC time of removal; `detection` the seconds from the kernel's
    word to the removal, 0 where no death was involved.
    """

    entry: Entry
    how: str
    at: datetime
    detection: float


class Limits(msgspec.Struct, frozen=True):
    """The bounds of a registry. They count only for whoever creates it; later openers find them set.

    - `max_memory_bytes`: table pages in use; beyond it new registrations are refused with `RegistryFull`.
    - `registration_timeout`: seconds a write may take when the call names no timeout of its own.
    - `cleanup_window`: seconds from a death to the removal of its entries.
    - `max_entries`: number of entries, None for no bound but memory.
    - `max_metadata_bytes`: size of one entry's metadata, encoded.
    - `max_capabilities`: capabilities of one entry.
    - `max_readers`: threads and processes that may read at the same instant.
    - `max_pending`: requests waiting in the registrar before it answers `SystemBusy`.
    - `linger`: seconds a registrar stays with no client and no entry.
    - `degraded_after`, `unhealthy_after`: how late a promised sign of life may be, in multiples of its `heartbeat`.
    """

    max_memory_bytes: int = 100 * 1024 * 1024
    registration_timeout: float = 0.05
    cleanup_window: float = 0.1
    max_entries: int | None = None
    max_metadata_bytes: int = 64 * 1024
    max_capabilities: int = 256
    max_readers: int = 4096
    max_pending: int = 8192
    linger: float = 30.0
    degraded_after: float = 1.5
    unhealthy_after: float = 3.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None and name == "max_entries":
                continue
            counted = name.startswith("max_")
            if isinstance(value, bool) or not isinstance(value, int if counted else (int, float)):
                raise TypeError(f"Limits.{name} must be a {'whole ' if counted else ''}number, not {value!r}")
            least, most = _BOUNDS.get(name, (1, 2**31) if counted else (0.001, 1e6))
            if not least <= value <= most:
                raise ValueError(f"Limits.{name} must be from {least:,} to {most:,}, not {value!r}")
        if self.degraded_after > self.unhealthy_after:
            raise ValueError(
                f"Limits.degraded_after must be at most Limits.unhealthy_after, {self.unhealthy_after!r}, not "
                f"{self.degraded_after!r}"
            )


# Where they are not those of any count or of any time: what an address space, a reader table, an entry can be.
_BOUNDS: dict[str, tuple[float, float]] = {
    "max_memory_bytes": (1024 * 1024, 2**42),
    "max_metadata_bytes": (128, 4 * 1024 * 1024),
    "max_readers": (1, 2**20),
    "linger": (0, 1e6),
    "degraded_after": (1, 1e6),
    "unhealthy_after": (1, 1e6),
}


class CleanupLatency(msgspec.Struct, frozen=True):
    """Seconds from the kernel's word of a death to the removal of its entries, over the last 1,000 deaths."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class RegistrarStats(msgspec.Struct, frozen=True):
    """What the registrar counts about itself and leaves in the tables, at most once a second."""

    pending: int = 0
    unwatched_by_kernel: int = 0
    cleanup_latency: CleanupLatency = CleanupLatency()
    outcomes: dict[str, int] = {}


class Stats(msgspec.Struct, frozen=True):
    """The registry in numbers, at most a second old.

    `entries` and `owners` count what the tables hold; `revision` is the newest change; `bytes_used` the table pages in
    use and `bytes_limit` their bound; `registrar_pid` is None when none runs; `uptime` its age in seconds; `restarts`
    how often one had to be started after the first; `pending` the requests that waited when last looked; `outcomes`
    counts requests by result: ``ok`` or the reason of the error. `unwatched_by_kernel` counts owners found by scanning
    because the registrar ran out of descriptors.
    """

    entries: int
    owners: int
    revision: int
    bytes_used: int
    bytes_limit: int
    registrar_pid: int | None
    uptime: float
    restarts: int
    pending: int
    cleanup_latency: CleanupLatency
    outcomes: dict[str, int]
    unwatched_by_kernel: int = 0
