"""``adsum namespaces``: lists the namespaces that have living members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...model import Entry, HealthStatus
from ...views.documents import NamespaceDocument
from ...views.mirror import Mirror, Scope
from ...views.order import sorted_names
from .. import NOT_FOUND
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render


def namespaces(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """List the namespaces that have living members, and how many.

    ```console
    $ adsum namespaces
    ```

    A namespace exists as long as it has members; it need not be made. --namespace and --node count only theirs. Exit
    code 1 where there is no registry.
    """
    with options.open() as registry:
        exists = check_registry(registry, options)
        mirror = Mirror(registry, Scope(options.namespace, options.node))
        found = _documents(mirror.fresh(mirror.entries.values()))
        if json:
            render.print_json(found)
        elif found:
            columns = ("namespace", "members", "healthy", "degraded", "unhealthy")
            rows = [
                [render.printable(one.namespace), *map(str, (one.members, one.healthy, one.degraded, one.unhealthy))]
                for one in found
            ]
            render.print_table(columns, rows)
    return 0 if exists else NOT_FOUND


def _documents(entries: Sequence[Entry]) -> list[NamespaceDocument]:
    """One document for each namespace of the entries, sorted by name."""
    counts = Counter((entry.process_id.namespace, entry.metadata.health_status) for entry in entries)
    found = []
    for name in sorted_names({namespace for namespace, _ in counts}):
        by_health = {status.value: counts[name, status] for status in HealthStatus}
        found.append(NamespaceDocument(namespace=name, members=sum(by_health.values()), **by_health))
    return found
