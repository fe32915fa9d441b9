"""A registry in numbers."""

import msgspec


class CleanupLatency(msgspec.Struct, frozen=True):
    """Seconds from the kernel's report of a death to the removal of its entries, over the last 1,000 deaths.

    >>> registry.stats().cleanup_latency
    CleanupLatency(p50=0.0, p99=0.0, max=0.0)
    """

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class RegistrarStats(msgspec.Struct, frozen=True):
    """The registrar's counts about itself, which it writes into the tables at most once a second."""

    pending: int = 0
    unwatched_by_kernel: int = 0
    cleanup_latency: CleanupLatency = CleanupLatency()
    outcomes: dict[str, int] = {}


class ClusterStats(msgspec.Struct, frozen=True):
    """What this registry knows of its cluster. `Stats.cluster` has it.

    - `connected`: whether the bridge has heard from the cluster, not longer ago than its time to live: while it has
      not, all other hosts are unreachable from here.
    - `revision`: that of etcd up to which everything is in the tables here. `heard`: seconds since then.
    - `published`: the revision of this registry up to which all of its changes are in etcd; `lag` is how many changes
      of this registry, its own and those of others, came after it.
    - `hosts`, `unreachable`: how many other hosts are known, and how many of them cannot be reached.
    - `entries`: those of other hosts in the tables here.

    >>> registry.stats().cluster is None
    True
    """

    connected: bool
    revision: int
    heard: float | None
    published: int
    lag: int
    hosts: int
    unreachable: int
    entries: int


class Stats(msgspec.Struct, frozen=True):
    """The registry in numbers, at most a second old. Given by `Registry.stats`.

    - `entries`, `owners`: how many the tables hold.
    - `revision`: the newest change.
    - `bytes_used`, `bytes_limit`: bytes of table pages in use, and their bound.
    - `registrar_pid`: None when no registrar runs; `uptime` is its age in seconds.
    - `restarts`: how many registrars took over from one that died. One that was idle, or was stopped, has left in order
      and is not counted.
    - `pending`: the requests that waited in the registrar.
    - `cleanup_latency`: a `CleanupLatency`.
    - `outcomes`: the number of requests by outcome: ``ok``, or the reason of the error.
    - `unwatched_by_kernel`: owners that are scanned, because the registrar has no descriptor left for them.
    - `cluster`: a `ClusterStats`; None where the registry is part of no cluster.

    >>> registration = registry.register("planner-1")
    >>> numbers = registry.stats()
    >>> numbers.entries, numbers.revision, numbers.bytes_used < numbers.bytes_limit
    (1, 1, True)
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
    cluster: ClusterStats | None = None
