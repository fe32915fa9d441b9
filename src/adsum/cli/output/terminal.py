"""Tables on a terminal, fitted to its width.

A user may copy any cell from the screen, so no cell is cut. Long cells are folded, between words as long as there is
room for whole words. Where there is not, optional columns are left out. The first column names the row, and is never
folded: where there is no room for it beside the others, it has a line of its own above them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .styles import style_of

_GAP = 2
# Longer words may be folded. The longest word of adsum itself is resource_manager.
_MAX_WORD = 16


def print_table(rows: Sequence[Sequence[str]], optional: Sequence[str]) -> None:
    """Print rows, the first of which is the heading. The columns in `optional` are left out in that order, as far as
    the width requires it."""
    console = Console(highlight=False)
    whole = list(zip(*rows, strict=True))
    columns = _without(optional, whole, console.width)
    if _least_width(columns) > console.width and len(whole) > 1:
        _print_stacked(console, whole, optional)
        return
    table = _empty_table(show_header=True)
    for column, width in zip(columns, _widths(columns, console.width), strict=True):
        table.add_column(column[0], width=width, overflow="fold")
    _fill(table, list(zip(*columns, strict=True))[1:])
    console.print(table)


def _without(optional: Sequence[str], columns: list[tuple[str, ...]], room: int) -> list[tuple[str, ...]]:
    """The columns without as many of the optional ones as the room requires."""
    for heading in optional:
        if _least_width(columns) <= room:
            break
        columns = [column for column in columns if column[0] != heading]
    return columns


def _print_stacked(console: Console, columns: list[tuple[str, ...]], optional: Sequence[str]) -> None:
    """Print the first cell of each row on a line of its own, and the other cells below it."""
    names, *others = columns
    room = max(1, console.width - _GAP)
    others = _without(optional, others, room)
    widths = _widths(others, room)
    for name, *cells, style in zip(names, *others, ["bold", *[""] * (len(names) - 1)], strict=True):
        if name:
            # The terminal wraps a longer one, which can be copied whole still.
            console.print(Text(name, style=style), soft_wrap=True)
        table = _empty_table(show_header=False)
        for width in widths:
            table.add_column(width=width, overflow="fold", style=style)
        _fill(table, [cells])
        console.print(Padding(table, (0, 0, 0, _GAP)))


def print_pairs(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of a name and a value."""
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
    """The least width of a table in which the first column is whole, and elsewhere only very long words are folded."""
    return sum(_least_widths(columns)) + _GAP * (len(columns) - 1)


def _least_widths(columns: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, columns[0])), *map(_longest_word, columns[1:])]


def _longest_word(column: Sequence[str]) -> int:
    return min(_MAX_WORD, max(cell_len(word) for cell in column for word in cell.split()))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of the columns. Where the table is too wide, the widest columns shrink first, down to their words."""
    widths = [min(room, max(map(cell_len, column))) for column in columns]
    least = _least_widths(columns)
    if _least_width(columns) > room:
        least[0] = _longest_word(columns[0])
    too_much = sum(widths) + _GAP * (len(columns) - 1) - room
    for _ in range(too_much):
        spare = [width if width > enough else 0 for width, enough in zip(widths, least, strict=True)]
        if not any(spare):
            # Not even the words fit. The terminal wraps the lines, so nothing is lost.
            break
        widths[spare.index(max(spare))] -= 1
    return widths
