"""``adsum hosts``: lists the hosts of the cluster."""

from __future__ import annotations

from ... import ALL, Registry, admin_cluster
from ...model import Reach
from ...views.cluster_documents import HostDocument, HostsDocument
from ...views.order import by_name, sorted_names
from .. import NOT_FOUND
from ..absence import check_registry
from ..notes import note
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render

_COLUMNS = ("host", "reach", "entries", "fence", "nodes", "trouble")
REMEDY = "adsum bridge --cluster ADDRESS joins one"
LEFT_OUT = "left out: there is no room for its entries here"
SILENT = "no bridge runs; adsum bridge starts one"


def hosts(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """List the hosts of the cluster that the registry is part of.

    ```console
    $ adsum hosts
    ```

    The first one is the host of this registry. A host is here, remote, or unreachable: its members are not found then,
    and nothing says that they have died. ENTRIES are those in the tables here, FENCE is the revision of etcd since
    which the bridge of the host vouches for them. Exit code 1 where the registry is part of no cluster, or
    there is none.
    """
    with options.open() as registry:
        joined = admin_cluster.membership(registry.folder)
        found = [_own(registry), *_others(registry)] if joined is not None else []
        stats = registry.stats().cluster
        if json:
            render.print_json(
                HostsDocument(str(registry.folder), None if joined is None else joined.cluster, stats, found)
            )
        elif found:
            _print(found)
        if joined is None and check_registry(registry, options):
            note(f"the registry in {registry.folder} is part of no cluster; {REMEDY}", options)
    return NOT_FOUND if joined is None else 0


def _own(registry: Registry) -> HostDocument:
    status = admin_cluster.bridge_status(registry.folder)
    members = registry.find(namespace=ALL, hosts="here")
    return HostDocument(
        name=admin_cluster.default_host(registry.folder) if status is None else status.host,
        reach=Reach.here,
        entries=len(members),
        nodes=sorted_names({entry.process_id.node for entry in members}),
        fence=0 if status is None else status.fence,
        trouble=SILENT if status is None else status.trouble,
    )


def _others(registry: Registry) -> list[HostDocument]:
    return [
        HostDocument(
            host.name, host.reach, host.entries, sorted_names(host.nodes), host.fence, LEFT_OUT if host.left_out else ""
        )
        for host in sorted(registry.hosts(), key=lambda host: by_name(host.name))
    ]


def _print(found: list[HostDocument]) -> None:
    # In a pipe every column holds one word, so that awk(1) and similar tools can split the line; the last one may not.
    between = ", " if render.is_terminal() else ","
    rows = [
        [
            render.printable_id(host.name),
            host.reach,
            str(host.entries),
            str(host.fence),
            between.join(map(render.printable_id, host.nodes)),
            host.trouble,
        ]
        for host in found
    ]
    shown = len(_COLUMNS) if any(host.trouble for host in found) else -1
    render.print_table(_COLUMNS[:shown], [row[:shown] for row in rows], optional=("nodes", "fence"))
