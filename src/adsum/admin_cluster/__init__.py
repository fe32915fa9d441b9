"""For tools of operators: the cluster that a registry is part of, its bridge, and what can be wrong with them.

    import adsum.admin, adsum.admin_cluster

    folder = adsum.admin.registry_folder("default")
    adsum.admin_cluster.join(folder, "etcd://10.0.0.1:2379,10.0.0.2:2379/prod", host="rack-7")
    adsum.admin_cluster.serve_bridge(folder)  # until SIGTERM

It needs the extra ``adsum[cluster]``, except to ask what is there: `membership`, `bridge_pid` and `bridge_status` work
without.
"""

from __future__ import annotations

from .._client.bridge_status import BridgeStatus
from .bridges import bridge_pid, bridge_status, serve_bridge, stop_bridge
from .checking import check
from .findings import Finding
from .joining import Membership, cluster_address, default_address, default_host, join, leave, membership
from .local_checks import check_bridge

__all__ = [
    "BridgeStatus",
    "Finding",
    "Membership",
    "bridge_pid",
    "bridge_status",
    "check",
    "check_bridge",
    "cluster_address",
    "default_address",
    "default_host",
    "join",
    "leave",
    "membership",
    "serve_bridge",
    "stop_bridge",
]
