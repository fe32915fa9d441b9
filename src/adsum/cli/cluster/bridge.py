"""``adsum bridge``: serves as the bridge of a registry, or checks, shows or ends one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ... import admin_cluster
from ...errors import ClusterUnavailable
from ...views import words
from ...views.cluster_documents import BridgeDocument
from ...views.documents import CheckDocument
from ..absence import absence, ending
from ..notes import note
from ..options import DEFAULT_REGISTRY, FLAG, Json, RegistryOptions, UsageError
from ..output import render
from ..output.checks import print_checks
from .options import DEFAULT_CLUSTER, ClusterOptions

NOT_DONE = 1


def bridge(
    *,
    asked: ClusterOptions = DEFAULT_CLUSTER,
    replace: Annotated[bool, FLAG, Parameter(help="First end the bridge that runs. No other host notices.")] = False,
    leave_at_end: Annotated[
        bool,
        FLAG,
        Parameter(help="Take the host out of the cluster at SIGTERM, too: for a container that never comes back."),
    ] = False,
    check: Annotated[
        bool, FLAG, Parameter(help="Only check whether etcd can be reached, and is fit. Writes nothing.")
    ] = False,
    status: Annotated[bool, FLAG, Parameter(help="Only show what the bridge says about itself.")] = False,
    leave: Annotated[
        bool, FLAG, Parameter(help="Take the registry out of its cluster, in order, and end its bridge.")
    ] = False,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Serve as the bridge between a registry and the other hosts of its cluster.

    ```console
    $ adsum bridge --cluster etcd://10.0.0.1:2379,10.0.0.2:2379/prod --host rack-7
    $ adsum bridge --check --cluster etcd://10.0.0.1:2379/prod
    $ adsum bridge --status
    $ adsum bridge --leave
    ```

    This is rarely needed: a process that opens the registry with cluster= or ADSUM_CLUSTER starts a bridge in the
    background. Use the command to let a service manager run it, or a container beside the others. It serves until a
    signal, and logs to standard error. At SIGTERM its lease lives on for --ttl, so that the next bridge goes on and no
    other host notices. Ctrl-C takes the host out of the cluster in order: nothing of it stays in etcd. The options stay
    in the registry's folder, for bridges that are started later; a bridge that is refused changes nothing there.

    Exit code 1 where another bridge runs, where --check finds a problem, where --status finds no bridge or one that
    does not publish or is stopped, and where --leave finds no cluster. Exit code 3 where no bridge can work: without a
    cluster, the extra, or keys of a known layout.
    """
    if check + status + leave > 1:
        raise UsageError("give one of --check, --status and --leave")
    if (check or status or leave) and (replace or leave_at_end):
        raise UsageError("--replace and --leave-at-end are for a bridge that serves")
    folder = options.folder()
    if status:
        return _show_status(folder, options, json=json)
    if leave:
        return _leave(folder, options)
    if check:
        return _check(folder, asked, options, json=json)
    return _serve(folder, asked, options, replace=replace, leave_at_end=leave_at_end)


def _serve(folder: Path, asked: ClusterOptions, options: RegistryOptions, *, replace: bool, leave_at_end: bool) -> int:
    about = ending(absence(folder, options))
    try:
        served = admin_cluster.serve_bridge(
            folder,
            asked.cluster,
            host=asked.host,
            ttl=asked.ttl,
            forget_after=asked.forget_after,
            replace=replace,
            leave_at_end=leave_at_end,
        )
    except ClusterUnavailable as error:
        raise ClusterUnavailable(f"{error}{about}") from error
    if served:
        return 0
    pid = admin_cluster.bridge_pid(folder)
    which = f"pid {pid}" if pid else "in another PID namespace"
    note(f"another bridge ({which}) connects {folder} with its cluster; end it, or replace it with --replace", options)
    return NOT_DONE


def _show_status(folder: Path, options: RegistryOptions, *, json: bool) -> int:
    found = admin_cluster.bridge_status(folder)
    if json:
        fields = {} if found is None else msgspec.structs.asdict(found)
        render.print_json(BridgeDocument(folder=str(folder), running=found is not None, **fields))
    elif found is None:
        unknown = f"no bridge of {folder} runs, or it has just started; adsum bridge starts one"
        note(absence(folder, options) or unknown, options)
    else:
        render.print_pairs(
            {
                "folder": str(folder),
                "pid": f"{found.pid}, {'in the foreground' if found.foreground else 'started on demand'}",
                "cluster": found.cluster,
                "host": found.host,
                "trouble": found.trouble,
                "fence": str(found.fence),
                "etcd member": found.member,
                "revision": str(found.revision),
                "other hosts": str(found.hosts),
                "writes": str(found.writes),
                "refused nodes": ", ".join(found.refused_nodes),
                "too large": ", ".join(found.too_large),
                "ttl": f"{found.ttl:g} s; lost hosts are forgotten after {words.duration(found.forget_after)}",
                "version": found.version,
            }
        )
    return 0 if found is not None and not found.trouble else NOT_DONE


def _leave(folder: Path, options: RegistryOptions) -> int:
    known = admin_cluster.membership(folder)
    if not admin_cluster.leave(folder) or known is None:
        note(absence(folder, options) or f"the registry in {folder} is part of no cluster", options)
        return NOT_DONE
    print(f"{folder} has left {known.cluster}")
    return 0


def _check(folder: Path, asked: ClusterOptions, options: RegistryOptions, *, json: bool) -> int:
    address = asked.cluster or admin_cluster.default_address(folder)
    if not address:
        raise ClusterUnavailable(
            "there is no cluster to check; give --cluster, or set ADSUM_CLUSTER" + ending(absence(folder, options))
        )
    findings = admin_cluster.check(address, host=asked.host or admin_cluster.default_host(folder), folder=folder)
    return print_checks([CheckDocument(*msgspec.structs.astuple(one)) for one in findings], json=json)
