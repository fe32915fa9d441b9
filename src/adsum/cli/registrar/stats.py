"""``adsum stats``: prints the figures of a registry."""

from __future__ import annotations

from ...model import Stats
from ...views import words
from .. import NOT_FOUND
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render


def stats(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Show the figures of a registry.

    ```console
    $ adsum stats --json
    ```

    Entries, memory, registrar, and the time from a death to the removal of its entries, over the last 1,000 deaths. The
    figures are at most a second old. Exit code 1 where there is no registry.
    """
    with options.open() as registry:
        exists = check_registry(registry, options)
        found = registry.stats()
        if json:
            render.print_json(found)
        elif exists:
            render.print_pairs({"folder": str(registry.folder), **_pairs(found)})
    return 0 if exists else NOT_FOUND


def _pairs(found: Stats) -> dict[str, str]:
    latency = found.cleanup_latency
    registrar = "not running; the next write starts one"
    if found.registrar_pid is not None:
        registrar = f"pid {found.registrar_pid}, up {words.duration(found.uptime)}"
    return {
        "entries": str(found.entries),
        "owners": str(found.owners),
        "revision": str(found.revision),
        "memory": f"{words.size(found.bytes_used)} of {words.size(found.bytes_limit)}",
        "registrar": registrar,
        "restarts": str(found.restarts),
        "pending": str(found.pending),
        "cleanup": "  ".join(
            f"{name} {seconds * 1000:.2f} ms"
            for name, seconds in (("p50", latency.p50), ("p99", latency.p99), ("max", latency.max))
        ),
        "outcomes": ", ".join(f"{word} {count}" for word, count in sorted(found.outcomes.items())),
        "unwatched": str(found.unwatched_by_kernel),
    }
