"""The contents of `adsum top` as text and as a document: figures, the cells of a member, the latest departures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ...model import ClusterStats, Departure, Entry, Stats
from ...views import words
from ...views.description import lived, removal
from ...views.documents import RegistryDocument, departure_document, entry_document
from ...views.mirror import Mirror
from ...views.order import most_common, sorted_names
from ...views.rates import KINDS, MISSED
from ..options import RegistryOptions
from ..output import render
from .choices import UserChoices, lateness

MAX_DEPARTURES = 5
# In JSON: all that the registry keeps.
ALL_DEPARTURES = 1000
_MAX_NAMES = 6

COLUMNS = (
    *("ID", "PID", "TYPE", "HEALTH", "CAPABILITIES", "HEARTBEAT", "GAUGES", "AGE"),
    *("VERSION", "PROTOCOLS", "DOING", "HOST"),
)
_WHERE_STATED = frozenset({"HOST", "GAUGES", "VERSION", "PROTOCOLS", "DOING"})


def print_once(mirror: Mirror, options: RegistryOptions) -> None:
    """Print the present state in lines."""
    render.print_pairs({"registry": source(mirror), **figures(mirror, rates=False)})
    if entries := _sorted_entries(mirror):
        print()
        rows = [cells(entry, mirror, options) for entry in entries]
        columns = columns_of(rows)
        render.print_table([name.lower() for name in columns], [[row[name] for name in columns] for row in rows])
    if departures := latest_departures(mirror, MAX_DEPARTURES):
        print("\nlatest departures")
        for departure in departures:
            print(render.printable(departure_line(departure)))


def document(mirror: Mirror) -> RegistryDocument:
    """The present state for JSON."""
    counts = mirror.counts()
    return RegistryDocument(
        at=datetime.now(UTC),
        folder=str(mirror.registry.folder),
        stats=mirror.stats,
        namespaces=counts.namespaces,
        types=counts.types,
        health=counts.health,
        entries=[entry_document(entry) for entry in _sorted_entries(mirror)],
        departures=[departure_document(one) for one in latest_departures(mirror, ALL_DEPARTURES)],
    )


def _sorted_entries(mirror: Mirror) -> list[Entry]:
    return UserChoices().select(mirror.fresh(mirror.entries.values()))


def source(mirror: Mirror) -> str:
    """The registry's folder, and the namespace and node that the mirror is limited to."""
    namespace, node = mirror.scope
    limits = [f"namespace {namespace}"] if namespace is not None else []
    limits += [f"node {node}"] if node is not None else []
    return ", ".join([str(mirror.registry.folder), *limits])


def figures(mirror: Mirror, *, rates: bool = True) -> dict[str, str]:
    """The figures of the registry, a line each; without rates where there was no time to measure them."""
    stats, counts = mirror.stats, mirror.counts()
    part = stats.bytes_used / stats.bytes_limit
    latency = stats.cleanup_latency
    lines = {
        "registrar": f"{_registrar(stats)}  restarts {stats.restarts}  pending {stats.pending}",
        "entries": f"{sum(counts.namespaces.values())}  owners {stats.owners}  revision {stats.revision}",
        "memory": f"{words.size(stats.bytes_used)} of {words.size(stats.bytes_limit)}, {part:.1%}",
        "cleanup": "  ".join(
            f"{name} {seconds * 1000:.2f} ms"
            for name, seconds in (("p50", latency.p50), ("p99", latency.p99), ("max", latency.max))
        ),
        "changes/s": "  ".join(
            f"{kind} {rate:.1f}" for kind, rate in mirror.rates().items() if kind in KINDS or (kind == MISSED and rate)
        ),
        "namespaces": _counts(counts.namespaces),
        "types": _counts(counts.types),
        "health": "  ".join(f"{status} {counts.health[status]}" for status in ("healthy", "degraded", "unhealthy")),
    }
    if not rates:
        del lines["changes/s"]
    if stats.cluster is not None:
        lines["hosts"] = _hosts(mirror, stats.cluster)
    return lines


def _hosts(mirror: Mirror, cluster: ClusterStats) -> str:
    """The other hosts of the cluster, how far it is ahead of this registry, and the names of those that are lost."""
    heard = "never" if cluster.heard is None else f"{cluster.heard:.1f}s ago"
    parts = [f"others {cluster.hosts}  entries {cluster.entries}  lag {cluster.lag}  heard {heard}"]
    lost = [host.name for host in mirror.registry.hosts() if host.reach == "unreachable"]
    if lost:
        more = f" and {len(lost) - _MAX_NAMES} more" if len(lost) > _MAX_NAMES else ""
        parts.append(f"unreachable {', '.join(map(render.printable, lost[:_MAX_NAMES]))}{more}")
    return "  ".join(parts)


def _registrar(stats: Stats) -> str:
    if stats.registrar_pid is None:
        return "not running; the next write starts one"
    return f"pid {stats.registrar_pid}  up {words.duration(stats.uptime)}"


def _counts(counts: Counter[str]) -> str:
    """The most frequent names with their counts, and the number of other names."""
    shown = [f"{render.printable(name)} {count}" for name, count in most_common(counts, _MAX_NAMES)]
    others = len(counts) - len(shown)
    return "  ".join([*shown, *([f"and {others} more"] if others else [])])


def columns_of(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns that may be shown; those of what not all members state only where a member has something there."""
    return [name for name in COLUMNS if name not in _WHERE_STATED or any(row[name] for row in rows)]


def cells(entry: Entry, mirror: Mirror, options: RegistryOptions) -> dict[str, str]:
    """The row of a member, by column."""
    metadata = entry.metadata
    late = " late" if entry.health_source == "registrar" else ""
    return {
        "ID": render.printable_id(options.show_id(entry.process_id, mirror.registry)),
        "PID": str(entry.pid),
        "TYPE": metadata.type,
        "HEALTH": f"{metadata.health_status} {words.ago(metadata.last_health_check)}{late}",
        "CAPABILITIES": render.printable(",".join(sorted_names(metadata.capabilities))),
        "HEARTBEAT": heartbeat(entry),
        "GAUGES": render.printable(words.numbers(entry.gauges)),
        "AGE": words.ago(entry.registered_at),
        "VERSION": render.printable(metadata.version),
        "PROTOCOLS": render.printable(",".join(sorted_names(metadata.protocols))),
        "DOING": render.printable(metadata.doing),
        "HOST": render.printable_id(entry.host),
    }


def heartbeat(entry: Entry) -> str:
    """The age of the last heartbeat and the interval, or how late the next one is; empty without a promise."""
    interval = entry.metadata.heartbeat
    if interval is None:
        return ""
    late = lateness(entry)
    return f"{late:.1f}s late" if late > 0 else f"{interval + late:.1f}s of {interval:g}s"


def latest_departures(mirror: Mirror, limit: int) -> list[Departure]:
    """The departures in the mirror's scope, newest first."""
    # The registry keeps the departures of all namespaces in one list, so a scope needs all of them.
    is_unlimited = mirror.scope == (None, None)
    found = mirror.registry.departures(limit if is_unlimited else None)
    return [one for one in found if mirror.scope.covers(one.entry.process_id)][:limit]


def departure_line(departure: Departure) -> str:
    """A departure on one line."""
    entry = departure.entry
    removed = "" if departure.exit is None else f", {words.ending(departure.exit)}"
    if departure.how == "died":
        removed += f", {removal(departure)}"
    noticed = "" if departure.time_known else "noticed "
    name, how = render.printable_id(str(entry.process_id)), departure.how.replace("_", " ")
    host = f" on {entry.host}" if entry.host else ""
    return (
        f"{noticed}{words.clock(departure.at)}  {name}  {how}  pid {entry.pid}{host} after {lived(departure)}, "
        f"{entry.metadata.health_status}{removed}"
    )
