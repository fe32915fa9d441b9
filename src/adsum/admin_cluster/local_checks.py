"""Checks of a registry's side of its cluster: the bridge, what it says, and what the tables have of other hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .._client import bridge_status as statuses
from .._client import cluster
from .._client.bridge_status import BridgeStatus
from .._store.hosts import boottime_ns
from ..errors import AdsumError, ClusterUnavailable
from ..model import ClusterStats
from ..registry import Registry
from .findings import Finding, ok, problem, warning
from .joining import membership

LOG_NAME = "bridge.log"
# A bridge gets a new fence at its start, and when etcd has lost its lease. So many in so many seconds are too many.
MANY_FENCES, FENCE_SECONDS = 5, 60.0


def check_bridge(registry: Registry) -> list[Finding]:
    """Check the bridge of a registry; nothing where the registry is part of no cluster. It asks neither etcd nor the
    bridge, but reads what is in the registry's folder. Errors: none.

    >>> adsum.admin_cluster.check_bridge(registry)
    []
    """
    try:
        if membership(registry.folder) is None:
            return []
    except AdsumError as error:
        return [problem("cluster", str(error), f"remove {registry.folder / cluster.FILE_NAME}, and join again")]
    found = list(_bridge(registry.folder))
    stats = registry.stats().cluster
    if stats is not None:
        found += [_hearing(stats), *_hosts(registry)]
    try:
        cluster.require_extra()
    except ClusterUnavailable as error:
        found.insert(0, problem("extra", str(error), "pip install 'adsum[cluster]'"))
    return found


def _bridge(folder: Path) -> Iterator[Finding]:
    pid, status = cluster.running_bridge(folder), statuses.status_in(folder)
    log = folder / LOG_NAME
    if pid is None:
        yield problem(
            "bridge",
            f"none runs: other hosts take the members here for unreachable; its log is {log}",
            "run: adsum bridge; a process that opens the registry with cluster= or ADSUM_CLUSTER starts one, too",
        )
        return
    if status is None:
        yield warning("bridge", f"pid {pid} says nothing yet", f"look again in some seconds; its log is {log}")
        return
    yield from _two_bridges(pid, status)
    if status.trouble:
        yield problem(
            "bridge", f"pid {pid}, as the host {status.host}: {status.trouble}", f"see {_log_of(status, log)}"
        )
    else:
        yield ok("bridge", f"pid {pid} vouches for the host {status.host} since revision {status.fence} of etcd")
    if status.refused_nodes:
        yield problem(
            "nodes",
            f"other hosts have the nodes {', '.join(status.refused_nodes)}: members under them are not published",
            "give this host another node (node=, ADSUM_NODE), or let the other host leave",
        )
    if status.too_large:
        yield problem(
            "entries",
            f"too large for etcd, so other hosts do not have them: {', '.join(status.too_large)}",
            "give these members less metadata, or etcd a larger --max-request-bytes",
        )


def _two_bridges(pid: int, status: BridgeStatus) -> Iterator[Finding]:
    if status.pid != pid and _runs(status.pid):
        yield problem(
            "bridge",
            f"two run, pid {pid} and pid {status.pid}: the file {cluster.LOCK_NAME} was removed while one had it",
            f"end one: kill {status.pid}",
        )
    seconds = (boottime_ns() - status.started_ns) / 1e9
    if status.tenures > MANY_FENCES and seconds / status.tenures < FENCE_SECONDS:
        yield warning(
            "bridge",
            f"it got {status.tenures} fences in {seconds:.0f} s: another bridge has its name, or etcd loses leases",
            "see its log; check that no other container has the same registry's folder and PID namespace",
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _log_of(status: BridgeStatus, log: Path) -> str:
    return "what it says on standard error (the journal)" if status.foreground else str(log)


def _hearing(stats: ClusterStats) -> Finding:
    if stats.connected:
        return ok("cluster", f"heard {stats.heard or 0:.1f} s ago, {stats.hosts} other hosts, lag {stats.lag}")
    ago = "never" if stats.heard is None else f"{stats.heard:.0f} s ago"
    return problem(
        "cluster",
        f"last heard {ago}: all other hosts are unreachable from here; members of this host are found as always",
        "see bridge; then check that etcd can be reached: adsum bridge --check",
    )


def _hosts(registry: Registry) -> Iterator[Finding]:
    hosts = registry.hosts()
    left_out = [host.name for host in hosts if host.left_out]
    unreachable = [host.name for host in hosts if host.reach == "unreachable" and not host.left_out]
    if left_out:
        yield problem(
            "hosts",
            f"no room for the entries of {', '.join(left_out)}: none of them is found here",
            "make the registry anew with a larger max_memory_bytes or max_remote_entries (Limits)",
        )
    if unreachable:
        yield warning(
            "hosts",
            f"unreachable: {', '.join(unreachable)}",
            "see whether that host, its bridge and its way to etcd are well: adsum doctor there",
        )
    if hosts and not left_out and not unreachable:
        yield ok("hosts", f"{len(hosts)} others, all of them here")
