"""The options that say how a host is part of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class ClusterOptions:
    """The cluster, and this host in it. None is what the registry has joined with, else what the environment says."""

    cluster: Annotated[
        str | None,
        Parameter(
            metavar="ADDRESS",
            help="The cluster, as in etcd://10.0.0.1:2379,10.0.0.2:2379/prod. Default: $ADSUM_CLUSTER, or the one that "
            "the registry is part of.",
        ),
    ] = None
    host: Annotated[
        str | None,
        Parameter(
            metavar="HOST", help="The name of this host in it. Default: $ADSUM_HOST, or the registry's own node."
        ),
    ] = None
    ttl: Annotated[
        float | None,
        Parameter(
            metavar="SECONDS",
            help="After so many seconds of silence other hosts take this one for unreachable. Default: "
            "$ADSUM_CLUSTER_TTL, or 10.",
        ),
    ] = None
    forget_after: Annotated[
        float | None,
        Parameter(
            metavar="SECONDS",
            help="Remove the entries of a host that was unreachable for so long. Default: $ADSUM_CLUSTER_FORGET_AFTER, "
            "or 600.",
        ),
    ] = None


DEFAULT_CLUSTER = ClusterOptions()
