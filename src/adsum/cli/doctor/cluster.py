"""Checks of the cluster that a registry is part of: its bridge, the other hosts, and etcd."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ... import Registry, admin_cluster
from .findings import DoctorFinding, warning


def check_cluster(registry: Registry) -> Iterator[DoctorFinding]:
    """The findings about the bridge and about etcd; none where the registry is part of no cluster."""
    found = admin_cluster.check_bridge(registry)
    for one in found:
        yield DoctorFinding(one.check, one.level, one.says, one.remedy)
    address = admin_cluster.default_address(registry.folder)
    if not found and address:
        yield warning(
            "cluster",
            f"ADSUM_CLUSTER={os.environ.get('ADSUM_CLUSTER', '')}, and this registry has joined no cluster yet",
            "nothing is needed: the first process that opens it joins, and starts a bridge",
        )
    if address:
        host = admin_cluster.default_host(registry.folder)
        for one in admin_cluster.check(address, host=host, folder=registry.folder):
            yield DoctorFinding(one.check, one.level, one.says, one.remedy)
