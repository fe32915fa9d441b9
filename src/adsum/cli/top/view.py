"""How `adsum top` looks: a screen as large as the terminal is, and the same in lines for a pipe or as JSON."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ...model import Departure, Entry, Stats
from ...views import words
from ...views.documents import departure_document, entry_document
from ...views.mirror import Mirror
from ...views.rates import KINDS, MISSED
from ..options import RegistryOptions
from ..output import render
from ..output.styles import style_of
from .browsing import Browsing, lateness

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

KEYS = "q quit  s sort  r reverse  / filter  Esc clear  j k arrows scroll"
# On fewer lines the numbers give way to the members, then their ends.
_FULL_LINES, _SHORT_LINES = 18, 9
_MOST_DEPARTURES = 5
_NAMED = 6

# Heading, and how many columns a terminal must have at least to show it.
_COLUMNS = (
    ("ID", 0),
    ("PID", 30),
    ("TYPE", 90),
    ("HEALTH", 24),
    ("CAPABILITIES", 70),
    ("HEARTBEAT", 100),
    ("AGE", 50),
)
_RIGHT = ("PID", "AGE")


class View:
    """A roll, as somebody browses it."""

    def __init__(self, roll: Mirror, browsing: Browsing, options: RegistryOptions) -> None:
        self._roll = roll
        self._browsing = browsing
        self._place = options
        # How many members the last frame had room for.
        self.page = 1

    def frame(self, columns: int, lines: int) -> RenderableType:
        """The whole screen, for so many columns and lines."""
        from rich.console import Group
        from rich.text import Text

        head = self._head(lines)
        departures = self._departures(lines)
        self.page = max(1, lines - len(head) - len(departures) - 2)
        chosen = self._chosen()
        window = self._browsing.window(len(chosen), self.page)
        table = self._table(self._roll.fresh(chosen[window]), columns)
        # Whatever stands below keeps its place, however few members there are.
        gap = [Text()] * max(0, self.page - table.row_count)
        shown: list[RenderableType] = [*head, table, *gap, *departures, self._foot(len(chosen), window)]
        return Group(*shown[: lines + 1])

    def _chosen(self) -> list[Entry]:
        entries = list(self._roll.entries.values())
        if self._browsing.order == "heartbeat":
            promising = [entry for entry in entries if entry.metadata.heartbeat is not None]
            fresh = {entry.process_id: entry for entry in self._roll.fresh(promising)}
            entries = [fresh.get(entry.process_id, entry) for entry in entries]
        return self._browsing.select(entries)

    def _head(self, lines: int) -> list[Text]:
        from rich.text import Text

        when = f"{datetime.now().astimezone():%H:%M:%S}"
        title = Text.assemble(("adsum top", "bold"), f"  {render.printable(where(self._roll))}  ", (when, "dim"))
        pairs = numbers(self._roll)
        if lines < _FULL_LINES:
            pairs = {name: pairs[name] for name in ("entries", "health")}
        if lines < _SHORT_LINES:
            pairs = {}
        found = [title, *(Text.assemble((f"{name:<11}", "dim"), *_coloured(text)) for name, text in pairs.items())]
        for line in found:
            line.no_wrap, line.overflow = True, "ellipsis"
        return [*found, *([Text()] if lines >= _FULL_LINES else [])]

    def _table(self, entries: list[Entry], columns: int) -> Table:
        from rich.table import Table
        from rich.text import Text

        headings = [heading for heading, least in _COLUMNS if columns >= least]
        table = Table(box=None, header_style="bold reverse", pad_edge=False, padding=(0, 2, 0, 0), expand=True)
        for heading in headings:
            ratio = {"ID": 3, "CAPABILITIES": 2}.get(heading)
            least = 12 if heading == "ID" else None
            table.add_column(
                heading,
                no_wrap=True,
                overflow="ellipsis",
                ratio=ratio,
                min_width=least,
                justify="right" if heading in _RIGHT else "left",
            )
        for entry in entries:
            cells = self._cells(entry)
            table.add_row(*(Text(cells[heading], style=_style(heading, cells[heading])) for heading in headings))
        return table

    def _cells(self, entry: Entry) -> dict[str, str]:
        metadata = entry.metadata
        late = " late" if entry.health_source == "registrar" else ""
        return {
            "ID": render.printable_id(self._place.show_id(entry.process_id, self._roll.registry)),
            "PID": str(entry.pid),
            "TYPE": metadata.type,
            "HEALTH": f"{metadata.health_status} {words.ago(metadata.last_health_check)}{late}",
            "CAPABILITIES": render.printable(",".join(sorted(metadata.capabilities))),
            "HEARTBEAT": heartbeat(entry),
            "AGE": words.ago(entry.registered_at),
        }

    def _departures(self, lines: int) -> list[Text]:
        from rich.text import Text

        room = min(_MOST_DEPARTURES, (lines - 18) // 3)
        if room < 1:
            return []
        found = latest(self._roll, room)
        told = [Text(render.printable(ending(one)), style="dim", no_wrap=True, overflow="ellipsis") for one in found]
        missing = [Text()] * (room - len(found))
        return [Text(), Text("latest departures", style="bold"), *told, *missing]

    def _foot(self, total: int, window: slice) -> Text:
        from rich.text import Text

        browsing = self._browsing
        if browsing.typing:
            return Text(f"/{browsing.filter}_  Enter to keep, Esc to clear", no_wrap=True, overflow="ellipsis")
        last = min(window.stop, total)
        order = f"{browsing.order}{' reversed' if browsing.reverse else ''}"
        parts = [f"{window.start + 1 if total else 0}-{last} of {total} by {order}"]
        if browsing.filter:
            parts.append(f"filter: {browsing.filter}")
        return Text("  |  ".join([*parts, KEYS]), style="reverse", no_wrap=True, overflow="ellipsis")


def _style(heading: str, cell: str) -> str:
    if heading == "HEALTH":
        return style_of(cell)
    return "yellow" if heading == "HEARTBEAT" and "late" in cell else ""


def _coloured(text: str) -> list[tuple[str, str] | str]:
    """Words of health in their colours, where somebody is unwell."""
    parts: list[tuple[str, str] | str] = []
    for part in text.split("  "):
        word, _, number = part.partition(" ")
        style = style_of(word) if number not in ("", "0") else ""
        parts += [(part, style), "  "]
    return parts


def where(roll: Mirror) -> str:
    namespace, node = roll.scope
    within = [f"namespace {namespace}"] if namespace is not None else []
    within += [f"node {node}"] if node is not None else []
    return f"{roll.registry.folder}{', ' if within else ''}{', '.join(within)}"


def numbers(roll: Mirror, *, rates: bool = True) -> dict[str, str]:
    """The registry in numbers, a line each."""
    stats, counts = roll.stats, roll.counts()
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
            f"{kind} {rate:.1f}" for kind, rate in roll.rates().items() if kind in KINDS or (kind == MISSED and rate)
        ),
        "namespaces": _counted(counts.namespaces),
        "types": _counted(counts.types),
        "health": "  ".join(f"{status} {counts.health[status]}" for status in ("healthy", "degraded", "unhealthy")),
    }
    if not rates:
        del lines["changes/s"]
    return lines


def _registrar(stats: Stats) -> str:
    if stats.registrar_pid is None:
        return "none runs; the next write starts one"
    return f"pid {stats.registrar_pid}  up {words.duration(stats.uptime)}"


def _counted(counts: Counter[str]) -> str:
    """The most frequent first, and how many others there are."""
    named = [f"{render.printable(name)} {count}" for name, count in counts.most_common(_NAMED)]
    others = len(counts) - len(named)
    return "  ".join([*named, *([f"and {others} more"] if others else [])])


def heartbeat(entry: Entry) -> str:
    """How old the last sign of life is, of how much time, or by how much the next is late."""
    every = entry.metadata.heartbeat
    if every is None:
        return ""
    late = lateness(entry)
    return f"{late:.1f}s late" if late > 0 else f"{every + late:.1f}s of {every:g}s"


def latest(roll: Mirror, limit: int) -> list[Departure]:
    """The departures within the roll's scope, newest first."""
    # Those of other namespaces are left out, so that more have to be looked at.
    everywhere = roll.scope == (None, None)
    found = roll.registry.departures(limit if everywhere else None)
    return [one for one in found if roll.scope.covers(one.entry.process_id)][:limit]


def ending(departure: Departure) -> str:
    entry = departure.entry
    lived = words.duration((departure.at - entry.registered_at).total_seconds())
    detected = f", gone {departure.detection * 1000:.2f} ms after the kernel's word" if departure.how == "died" else ""
    name, how = render.printable_id(str(entry.process_id)), departure.how.replace("_", " ")
    return (
        f"{words.clock(departure.at)}  {name}  {how}  pid {entry.pid} after {lived}, "
        f"{entry.metadata.health_status}{detected}"
    )


def print_plain(roll: Mirror, options: RegistryOptions) -> None:
    """One look at everything, in lines."""
    render.print_pairs({"registry": where(roll), **numbers(roll, rates=False)})
    entries = Browsing().select(roll.fresh(roll.entries.values()))
    if entries:
        print()
        cells = [View(roll, Browsing(), options)._cells(entry) for entry in entries]
        render.print_table([name.lower() for name, _ in _COLUMNS], [list(row.values()) for row in cells])
    if departures := latest(roll, _MOST_DEPARTURES):
        print("\nlatest departures")
        for departure in departures:
            print(render.printable(ending(departure)))


def document(roll: Mirror) -> dict[str, Any]:
    """One look at everything, for JSON."""
    counts = roll.counts()
    departures = latest(roll, 1000)
    return {
        "at": datetime.now(UTC),
        "folder": str(roll.registry.folder),
        "stats": msgspec.to_builtins(roll.stats),
        "namespaces": counts.namespaces,
        "types": counts.types,
        "health": counts.health,
        "entries": [entry_document(entry) for entry in Browsing().select(roll.fresh(roll.entries.values()))],
        "departures": [departure_document(departure) for departure in departures],
    }
