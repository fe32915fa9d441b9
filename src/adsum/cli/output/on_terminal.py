"""Tables on a terminal, as wide as it is.

What is copied from a screen has to be whole, so nothing is cut: long cells are folded, between words as long as there
is room for whole words. Where there is not, columns can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .styles import style_of

_GAP = 2
# A longer word may be folded: the longest of those that adsum itself says is resource_manager.
_WORD = 16


def print_table(rows: Sequence[Sequence[str]], given_up: Sequence[str]) -> None:
    """Rows, the first of which is the heading; without the columns in `given_up`, in that order, that have no room."""
    console = Console(highlight=False)
    columns = list(zip(*rows, strict=True))
    for heading in given_up:
        if _least_width(columns) <= console.width:
            break
        columns = [column for column in columns if column[0] != heading]
    table = _empty_table(show_header=True)
    for column, width in zip(columns, _widths(columns, console.width), strict=True):
        table.add_column(column[0], width=width, overflow="fold")
    _fill(table, list(zip(*columns, strict=True))[1:])
    console.print(table)


def print_pairs(rows: Sequence[Sequence[str]]) -> None:
    """Names and values."""
    console = Console(highlight=False)
    table = _empty_table(show_header=False)
    for width, style in zip(_widths(list(zip(*rows, strict=True)), console.width), ("dim", ""), strict=True):
        table.add_column(width=width, overflow="fold", style=style)
    _fill(table, rows)
    console.print(table)


def _empty_table(*, show_header: bool) -> Table:
    return Table(box=None, show_header=show_header, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))


def _fill(table: Table, rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        table.add_row(*(Text(cell, style=style_of(cell)) for cell in row))


def _least_width(columns: Sequence[Sequence[str]]) -> int:
    """Of a table in which no word is folded that is not very long."""
    return sum(_least(column) for column in columns) + _GAP * (len(columns) - 1)


def _least(column: Sequence[str]) -> int:
    return min(_WORD, max(cell_len(word) for cell in column for word in cell.split()))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """As wide as the cells are; where that is too wide, the widest columns give way, down to their words."""
    widths = [min(room, max(map(cell_len, column))) for column in columns]
    least = [_least(column) for column in columns]
    too_much = sum(widths) + _GAP * (len(columns) - 1) - room
    for _ in range(too_much):
        spare = [width if width > enough else 0 for width, enough in zip(widths, least, strict=True)]
        if not any(spare):
            # Not even the words fit. The terminal wraps the lines, and still nothing is lost.
            break
        widths[spare.index(max(spare))] -= 1
    return widths
