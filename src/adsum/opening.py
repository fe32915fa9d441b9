"""`open`: from a name or path to a `Registry`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ._client.keeper import OnLost
from .model import Limits
from .registry import Registry


def open(
    name: str = "default",
    *,
    path: str | os.PathLike[str] | None = None,
    namespace: str = "default",
    node: str | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    registrar_command: Sequence[str] | None = None,
    on_lost: OnLost | None = None,
    cluster: str | None = None,
) -> Registry:
    """Open a registry. There is no server to start: an absent registry reads as empty, and the first write makes it.

    - `name`: one of this user's registries on this machine, in the folder ``<base>/<name>``. The base is
      ``$ADSUM_DIR``, else ``/dev/shm/adsum-<uid>``, the same in a login shell, in cron, under su, in a service and
      after the logout. (``/run/user/<uid>/adsum`` on a machine without ``/dev/shm``, and where a registry of that name
      lives only there.)
    - `path`: the registry's folder, instead of a name.
    - `namespace`, `node`: they complete a plain string to a `ProcessId`. The node is ``$ADSUM_NODE`` by default, else
      the registry's own, which is the name of the host at the time when the registry was made.
    - `timeout`: seconds for each write that names no timeout; None for the registry's `Limits.registration_timeout`.
    - `limits`: the `Limits` of the registry; they count only if this process makes it. Where the registry exists with
      other limits, a warning says so; `Registry.limits` are its own.
    - `registrar_command`: the program and first arguments with which this process starts a registrar, such as
      ``["/usr/bin/python3"]``: a Python that has adsum, or a program that calls `adsum.freeze_support` first. By
      default the Python in ``$ADSUM_PYTHON``, else the one that runs this process. Needed where that is none: in a
      program that embeds Python or is frozen.
    - `on_lost`: called when the registry is gone, because its folder was removed, with the list of the entries that
      this process registered through this object. They are registered anew, as new incarnations, unless it returns
      False. It runs in a thread of adsum's.
    - `cluster`: the address of an etcd and the name of a cluster in it, such as
      ``etcd://10.0.0.1:2379,10.0.0.2:2379/prod``: the members of all hosts that have joined it are in one registry.
      ``$ADSUM_CLUSTER`` by default; none where that is not set, or for an empty string. The name of this host is
      ``$ADSUM_HOST``, else the registry's own node; ``$ADSUM_CLUSTER_TTL`` is the time in seconds after which other
      hosts take a silent one for unreachable (10). Needs the extra ``adsum[cluster]``.

    Errors: `PermissionDenied` where the folder is not private to this user; `UnsupportedPlatform`; `InvalidName`, also
    for a folder that holds other things; `InvalidProcessId` for an impossible namespace or node;
    `InvalidClusterAddress`; `ClusterUnavailable` without the extra; `CorruptRegistry`, `WrongNamespace` or
    `VersionMismatch` for a folder that this process cannot use.

    >>> registry = adsum.open(namespace="robots", timeout=2)
    >>> registry.namespace, len(registry)
    ('robots', 0)
    >>> registry.close()
    """
    return Registry(
        name,
        path=path,
        namespace=namespace,
        node=node,
        timeout=timeout,
        limits=limits,
        registrar_command=registrar_command,
        on_lost=on_lost,
        cluster=cluster,
    )
