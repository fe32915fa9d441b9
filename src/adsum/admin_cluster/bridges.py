"""The bridge of a registry: whether it runs, what it says about itself, being it, and ending it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .._client import bridge_status as statuses
from .._client import cluster
from .._client.bridge_end import end_bridge
from .._client.bridge_status import BridgeStatus
from .._client.connection_pool import seconds_or
from .joining import prospect

STOP_SECONDS = 10.0


def bridge_pid(folder: Path) -> int | None:
    """The pid of the bridge of a registry's folder, in its own PID namespace; None where none runs.

    >>> adsum.admin_cluster.bridge_pid(adsum.open().folder) is None
    True
    """
    return cluster.running_bridge(folder)


def bridge_status(folder: Path) -> BridgeStatus | None:
    """What the bridge of a registry's folder says about itself; None where none runs, or it has just started. It is
    renewed every two seconds; after eight seconds of silence that is its `trouble`.

    >>> adsum.admin_cluster.bridge_status(adsum.open().folder) is None
    True
    """
    return None if bridge_pid(folder) is None else statuses.status_in(folder)


def serve_bridge(
    folder: Path,
    address: str | None = None,
    *,
    host: str | None = None,
    ttl: float | None = None,
    forget_after: float | None = None,
    replace: bool = False,
    leave_at_end: bool = False,
) -> bool:
    """Be the bridge of a registry in this process until a signal ends it; log to standard error.

    The registry joins the cluster first, as with `join`, which has the same options. A bridge that does not serve
    changes nothing of what the registry is part of.

    SIGTERM ends it, and its lease lives on for its time to live, so that the next bridge goes on with it and no other
    host notices; with `leave_at_end` SIGTERM takes the host out of the cluster first, as SIGINT and SIGUSR1 always do.
    It reports to a service manager (``Type=notify``, ``WatchdogSec=``).

    Returns False where another process is the bridge; with `replace` that one is ended first. Installs signal handlers,
    so call it in the main thread of a process of its own.

    Errors: those of `join`; `VersionMismatch` where the keys of the cluster have another layout; `Timeout` where the
    other bridge does not end; those of `adsum.open`. For example, as a service:

        python -c "import adsum.admin, adsum.admin_cluster as c; c.serve_bridge(adsum.admin.registry_folder())"

    >>> adsum.admin_cluster.serve_bridge(adsum.open().folder)
    Traceback (most recent call last):
    adsum.errors.ClusterUnavailable: ... is part of no cluster; ...
    """
    joined = prospect(folder, address, host, ttl, forget_after)
    from .._bridge.process import BridgeSettings, serve
    from .._etcd.address import parse

    settings = BridgeSettings(
        ttl=joined.ttl,
        host=joined.host,
        forget_after=joined.forget_after,
        password=os.environ.get("ADSUM_ETCD_PASSWORD"),
        foreground=True,
        leave_at_end=leave_at_end,
    )
    while not serve(folder, parse(joined.address), settings):
        if not replace:
            return False
        stop_bridge(folder)
    return True


def stop_bridge(folder: Path, timeout: float = STOP_SECONDS) -> bool:
    """Ask the bridge of a registry to end (SIGTERM), and wait until it has. Returns whether one ran.

    The host stays in the cluster for the time to live of its lease. Where a process has opened the registry with
    ``cluster=``, it starts the next bridge at once. Errors: `Timeout` where it has not ended within `timeout` seconds;
    `ValueError` for a timeout that is not from 0 to 1e9.

    >>> adsum.admin_cluster.stop_bridge(adsum.open().folder)
    False
    """
    return end_bridge(folder, signal.SIGTERM, time.monotonic() + seconds_or(timeout, STOP_SECONDS))
