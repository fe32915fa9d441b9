"""The documents about a cluster of hosts: the bridge of a registry, and the hosts that it knows."""

from __future__ import annotations

import msgspec

from ..model import ClusterStats, Reach


class BridgeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What the bridge of a registry says about itself; empty where none is `running`. `trouble` is why it does not
    publish now, `fence` the revision of etcd since which it vouches for the members here, `revision` that up to which
    everything is here; `ttl` and `forget_after` are in seconds; `started_ns`, and `written_ns`, when it said
    this, are on CLOCK_BOOTTIME."""

    folder: str
    running: bool
    pid: int | None = None
    cluster: str = ""
    host: str = ""
    ttl: float = 0.0
    version: str = ""
    trouble: str = ""
    member: str = ""
    fence: int = 0
    revision: int = 0
    hosts: int = 0
    writes: int = 0
    loads: int = 0
    refused_nodes: list[str] = []
    forget_after: float = 0.0
    foreground: bool = False
    started_ns: int = 0
    tenures: int = 0
    too_large: list[str] = []
    written_ns: int = 0


class HostDocument(msgspec.Struct, frozen=True):
    """A host of the cluster: `reach` is ``here`` for the host of this registry; `entries` are those in the tables here,
    `fence` is the revision of etcd since which its bridge vouches for them, 0 where it does not. `trouble` is why the
    bridge here does not publish, or why the other host is left out; empty where all is well."""

    name: str
    reach: Reach
    entries: int
    nodes: list[str]
    fence: int
    trouble: str


class HostsDocument(msgspec.Struct, frozen=True):
    """The hosts of a registry's cluster, the own one first. `stats` is None before a bridge has ever heard of it."""

    folder: str
    cluster: str | None
    stats: ClusterStats | None
    hosts: list[HostDocument]
