"""Which cluster a registry is part of: joining it, and leaving it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .. import _wire as wire
from .._client import cluster
from .._client.bridge_end import end_bridge
from .._client.connection_pool import seconds_or
from .._os import identity
from ..errors import ClusterUnavailable
from ..model import Host
from ..opening import open as open_registry
from ..registry import Registry

NO_CLUSTER = (
    "is part of no cluster; give the address of one (--cluster, ADSUM_CLUSTER), such as "
    "etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/prod"
)
LEAVE_SECONDS = 15.0


class Membership(msgspec.Struct, frozen=True):
    """The cluster that a registry is part of: its address, the name of this host in it (empty for the registry's own
    node), and, in seconds, the time to live of the host's lease and the time after which a host that cannot be reached
    is forgotten."""

    cluster: str
    host: str
    ttl: float
    forget_after: float


def membership(folder: Path) -> Membership | None:
    """The cluster that the registry in a folder is part of; None where it is part of none.

    >>> adsum.admin_cluster.membership(adsum.open().folder) is None
    True
    """
    joined = cluster.joined(folder)
    return None if joined is None else Membership(*msgspec.structs.astuple(joined))


def cluster_address(text: str) -> str:
    """The address of a cluster as adsum writes it, with the files of TLS that the environment names. Errors:
    `InvalidClusterAddress`.

    >>> adsum.admin_cluster.cluster_address("etcd://10.0.0.1,10.0.0.2/prod")
    'etcd://10.0.0.1:2379,10.0.0.2:2379/prod'
    """
    from .._etcd.address import parse

    return str(parse(text))


def default_address(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The cluster that a process would join here without an address: ``ADSUM_CLUSTER``, else the one that the registry
    is part of; empty where there is none.

    >>> adsum.admin_cluster.default_address(adsum.open().folder, {"ADSUM_CLUSTER": "etcd://10.0.0.1/prod"})
    'etcd://10.0.0.1/prod'
    """
    joined = cluster.joined(folder)
    return environment.get("ADSUM_CLUSTER") or ("" if joined is None else joined.address)


def default_host(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The name that this host has in its cluster, or would have: the one it joined with, else ``ADSUM_HOST``, else the
    registry's own node.

    >>> adsum.admin_cluster.default_host(adsum.open().folder, {"ADSUM_HOST": "rack-7"})
    'rack-7'
    """
    joined = cluster.joined(folder)
    named = environment.get("ADSUM_HOST", "") if joined is None else joined.host
    if named:
        return named
    with open_registry(path=folder, cluster="") as registry:
        # Without $ADSUM_NODE, which is of this process.
        return registry._reader.node or identity.host_name()


def join(
    folder: Path,
    address: str | None = None,
    *,
    host: str | None = None,
    ttl: float | None = None,
    forget_after: float | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Membership:
    """Have the registry in a folder be part of a cluster, and return its `Membership`. No bridge is started. Where this
    fails, nothing has changed.

    - `address`: ``ADSUM_CLUSTER`` by default, else the cluster that the registry is part of already.
    - `host`, `ttl`, `forget_after`: for this host, from now on; what is not given stays as it is, and comes from
      ``ADSUM_HOST``, ``ADSUM_CLUSTER_TTL`` and ``ADSUM_CLUSTER_FORGET_AFTER`` where the registry joins now. A bridge
      that runs goes on with what it was started with.

    Errors: `InvalidClusterAddress`, also for an empty `host`, and where the registry is part of another cluster:
    `leave` that first;
    `ClusterUnavailable` without an address, and without the extra.

    >>> folder = adsum.admin.registry_folder("clustered")
    >>> adsum.admin_cluster.join(folder, "etcd://10.0.0.1/prod", host="rack-7").ttl
    10.0
    """
    wanted = prospect(folder, address, host, ttl, forget_after, environment)
    if cluster.join(folder, wanted) != wanted:
        cluster.change(folder, wanted)
    return Membership(*msgspec.structs.astuple(wanted))


def prospect(
    folder: Path,
    address: str | None,
    host: str | None,
    ttl: float | None,
    forget_after: float | None,
    environment: Mapping[str, str] = os.environ,
) -> cluster.JoinedCluster:
    """What a registry will be part of once it has joined with these. Changes nothing. Errors: those of `join`."""
    address = address or default_address(folder, environment)
    if not address:
        raise ClusterUnavailable(f"the registry in {folder} {NO_CLUSTER}")
    found = cluster.agreed(folder, cluster.wanted(address, environment))
    if host is not None:
        found = msgspec.structs.replace(found, host=cluster.named_host("host", host))
    if ttl is not None:
        found = msgspec.structs.replace(found, ttl=cluster.checked_ttl("ttl", ttl))
    if forget_after is not None:
        seconds = cluster.checked_forget_after("forget_after", forget_after)
        found = msgspec.structs.replace(found, forget_after=seconds)
    return found


def leave(folder: Path, timeout: float = LEAVE_SECONDS) -> bool:
    """Take a registry out of its cluster, in order: its bridge ends, other hosts see its members leave (departure
    ``left``), and their members go from the tables here. Returns whether it was part of one.

    No program that runs joins it again; one that opens the registry with ``cluster=`` or ``ADSUM_CLUSTER`` later does.

    Errors: `Timeout` where the bridge does not end within `timeout` seconds: the registry is part of the cluster as
    before. `ClusterUnavailable` where etcd could not be asked, and another host or registry has the name: this registry
    is out of the cluster, and the other hosts take its members for unreachable, and forget them later. `ValueError` for
    a timeout that is not from 0 to 1e9.

    >>> adsum.admin_cluster.leave(adsum.open().folder)
    False
    """
    seconds = seconds_or(timeout, LEAVE_SECONDS)
    joined = membership(folder)
    if joined is None:
        return False
    until = time.monotonic() + seconds
    with cluster.none_starts(folder, until):
        end_bridge(folder, signal.SIGUSR1, until)
        # Only now: a bridge that cannot end, as one that is stopped, is asked again by the next call.
        cluster.forget(folder)
    with open_registry(path=folder, timeout=seconds, cluster="") as registry:
        _forget_cluster(registry)
    _leave_etcd(joined, joined.host or default_host(folder, {}), folder)
    return True


def _forget_cluster(registry: Registry) -> None:
    """Remove what a bridge that was killed has left in the tables, and what it has said."""
    known: list[Host] = registry.hosts()
    if known:
        gone = [wire.RemoteHost(host.name, "gone") for host in known]
        registry._client.pool.ask(wire.ApplyRemote(hosts=gone), LEAVE_SECONDS)
    if registry.stats().cluster is not None:
        registry._client.board.attach()
        registry._client.board.hosts.note_heard(0, 0)
        # Holders of names rely on them no more, before these are free.
        registry._client.board.hosts.note_progress(None, None, 0)


def _leave_etcd(joined: Membership, host: str, folder: Path) -> None:
    """Delete what is left of the host in etcd, where it had no bridge that did. Errors: `ClusterUnavailable`."""
    cluster.require_extra()
    from .._bridge.keys import Keys
    from .._bridge.leaving import leave_without_bridge
    from .._bridge.tenure import HostTaken
    from .._etcd.address import parse
    from .._etcd.asking import in_a_loop
    from .._etcd.client import EtcdClient
    from .._etcd.errors import EtcdError

    async def ask() -> None:
        address = parse(joined.cluster)
        async with EtcdClient(address, password=os.environ.get("ADSUM_ETCD_PASSWORD")) as etcd:
            await leave_without_bridge(etcd, Keys(address.name), host, folder)

    try:
        in_a_loop(ask)
    except (EtcdError, HostTaken) as error:
        raise ClusterUnavailable(
            f"{error}; this registry is out of the cluster, but the other hosts could not be told: they take its "
            f"members for unreachable, and forget them after {joined.forget_after:g} s"
        ) from error
