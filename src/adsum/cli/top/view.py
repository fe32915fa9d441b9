"""A frame of `adsum top`: the whole screen, fitted to the size of the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ...model import Entry
from ...views import words
from ...views.mirror import Mirror
from ..absence import absence
from ..options import RegistryOptions
from ..output import render
from ..output.styles import style_of
from .choices import UserChoices
from .summary import COLUMNS, MAX_DEPARTURES, cells, columns_of, departure_line, figures, latest_departures, source

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

KEYS = "q quit  s sort  r reverse  / filter  Esc clear  j k arrows scroll"
# With fewer lines than this the figures are shortened, with fewer still they are left out, in favour of the members.
_FULL_LINES, _SHORT_LINES = 18, 9
# The least number of columns that a terminal must have to show each column.
_LEAST_WIDTH = {
    "ID": 0,
    "PID": 30,
    "TYPE": 90,
    "HEALTH": 24,
    "CAPABILITIES": 70,
    "HEARTBEAT": 100,
    "GAUGES": 80,
    "AGE": 50,
    "VERSION": 120,
    "PROTOCOLS": 120,
    "DOING": 80,
    "HOST": 70,
}
# Left out in this order where an id would have to be cut.
_OPTIONAL = ("VERSION", "PROTOCOLS", "HEARTBEAT", "TYPE", "GAUGES", "DOING", "CAPABILITIES", "HOST", "AGE", "PID")
_RIGHT = ("PID", "AGE")
_GAP = 2
# These are cut first, down to this.
_LEAST = {"CAPABILITIES": 12, "DOING": 16}


class TopView:
    """Draws a mirror as the user browses it."""

    def __init__(self, mirror: Mirror, choices: UserChoices, options: RegistryOptions) -> None:
        self._mirror = mirror
        self._choices = choices
        self._options = options
        # The number of members that the last frame had room for.
        self.page = 1

    def frame(self, columns: int, lines: int) -> RenderableType:
        """The screen for so many columns and lines."""
        from rich.console import Group
        from rich.text import Text

        head = self._head(lines)
        departures = self._departures(lines)
        self.page = max(1, lines - len(head) - len(departures) - 2)
        selected = self._selected()
        window = self._choices.window(len(selected), self.page)
        table = self._table(self._mirror.fresh(selected[window]), columns)
        # Empty lines keep the departures and the foot at the bottom, however few members there are.
        gap = [Text()] * max(0, self.page - table.row_count)
        parts: list[RenderableType] = [*head, table, *gap, *departures, self._foot(len(selected), window)]
        return Group(*parts[: lines + 1])

    def _selected(self) -> list[Entry]:
        entries = list(self._mirror.entries.values())
        if self._choices.order == "heartbeat":
            # Heartbeats are not changes, so the mirror's entries do not have the latest ones.
            promised = [entry for entry in entries if entry.metadata.heartbeat is not None]
            fresh = {entry.process_id: entry for entry in self._mirror.fresh(promised)}
            entries = [fresh.get(entry.process_id, entry) for entry in entries]
        return self._choices.select(entries)

    def _head(self, lines: int) -> list[Text]:
        from rich.text import Text

        now = words.second(datetime.now().astimezone())
        title = Text.assemble(("adsum top", "bold"), f"  {render.printable(source(self._mirror))}  ", (now, "dim"))
        says = absence(self._mirror.registry.folder, self._options)
        # An absent registry has no figures; those of an empty one would be zeros.
        pairs = figures(self._mirror) if not says else {"entries": says, "health": "-"}
        if lines < _FULL_LINES:
            pairs = {name: pairs[name] for name in ("entries", "health")}
        if lines < _SHORT_LINES:
            pairs = {}
        head = [title, *(Text.assemble((f"{name:<11}", "dim"), *_coloured(text)) for name, text in pairs.items())]
        for line in head:
            line.no_wrap, line.overflow = True, "ellipsis"
        return [*head, *([Text()] if lines >= _FULL_LINES else [])]

    def _table(self, entries: list[Entry], columns: int) -> Table:
        from rich.table import Table
        from rich.text import Text

        rows = [cells(entry, self._mirror, self._options) for entry in entries]
        widths = _widths(rows, columns)
        headings = _headings(columns_of(rows), widths, columns)
        table = Table(box=None, header_style="bold reverse", pad_edge=False, padding=(0, _GAP, 0, 0), expand=True)
        # What is left goes to the capabilities and to what the members are doing, or else to the ids.
        widest = "CAPABILITIES" if "CAPABILITIES" in headings else "ID"
        for heading in headings:
            table.add_column(
                heading,
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if heading in (widest, "DOING") else None,
                min_width=widths["ID"] if heading == "ID" else None,
                max_width=widths["ID"] if heading == "ID" != widest else None,
                justify="right" if heading in _RIGHT else "left",
            )
        for row in rows:
            table.add_row(*(Text(row[heading], style=_style(heading, row[heading])) for heading in headings))
        return table

    def _departures(self, lines: int) -> list[Text]:
        from rich.text import Text

        room = min(MAX_DEPARTURES, (lines - 18) // 3)
        if room < 1:
            return []
        found = [departure_line(departure) for departure in latest_departures(self._mirror, room)]
        shown = [Text(render.printable(line), style="dim", no_wrap=True, overflow="ellipsis") for line in found]
        empty = [Text()] * (room - len(found))
        return [Text(), Text("latest departures", style="bold"), *shown, *empty]

    def _foot(self, total: int, window: slice) -> Text:
        from rich.text import Text

        choices = self._choices
        if choices.typing:
            return Text(f"/{choices.filter}_  Enter to keep, Esc to clear", no_wrap=True, overflow="ellipsis")
        last = min(window.stop, total)
        order = f"{choices.order}{' reversed' if choices.reverse else ''}"
        parts = [f"{window.start + 1 if total else 0}-{last} of {total} by {order}"]
        if choices.filter:
            parts.append(f"filter: {choices.filter}")
        return Text("  |  ".join([*parts, KEYS]), style="reverse", no_wrap=True, overflow="ellipsis")


def _widths(rows: list[dict[str, str]], columns: int) -> dict[str, int]:
    """The width that each column needs. An id that is cut on this terminal anyway takes no other column's room."""
    from rich.cells import cell_len

    widths = {heading: max([len(heading), *(cell_len(row[heading]) for row in rows)]) for heading in COLUMNS}
    most = max(len("ID"), columns - _GAP - widths["HEALTH"])
    widths["ID"] = max(len("ID"), *(width for row in rows if (width := cell_len(row["ID"])) <= most), 0)
    widths |= {heading: min(least, widths[heading]) for heading, least in _LEAST.items()}
    return widths


def _headings(possible: list[str], widths: dict[str, int], columns: int) -> list[str]:
    """The columns to show: those for which there is room beside whole ids."""
    headings = [heading for heading in possible if columns >= _LEAST_WIDTH[heading]]
    for optional in _OPTIONAL:
        if sum(widths[heading] + _GAP for heading in headings) - _GAP <= columns:
            break
        headings = [heading for heading in headings if heading != optional]
    return headings


def _style(heading: str, cell: str) -> str:
    if heading == "HEALTH":
        return style_of(cell)
    return "yellow" if heading == "HEARTBEAT" and "late" in cell else ""


def _coloured(text: str) -> list[tuple[str, str] | str]:
    """The parts of a line; health statuses in their colours where their count is not 0."""
    parts: list[tuple[str, str] | str] = []
    for part in text.split("  "):
        word, _, number = part.partition(" ")
        style = style_of(word) if number not in ("", "0") else ""
        parts += [(part, style), "  "]
    return parts
