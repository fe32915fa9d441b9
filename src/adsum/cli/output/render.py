"""Writes answers to standard output: tables on a terminal, aligned columns in a pipe, JSON for programs.

Text that other processes registered must not control the terminal, so characters that are not printable are escaped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ...views.words import printable as printable


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    """Print one indented document: times as ISO 8601, bytes as base64, always UTF-8."""
    document = msgspec.json.format(json_bytes(value), indent=2) + b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(document)


def json_bytes(value: object) -> bytes:
    """A document, in which no character controls a terminal: JSON itself escapes those below the space only."""
    return _CONTROLS.sub(_escaped, msgspec.json.encode(value))


# DEL and the C1 controls (ECMA-48), of which a terminal may take U+009B for the beginning of a command, as UTF-8.
_CONTROLS = re.compile(b"\x7f|\xc2[\x80-\x9f]")


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


def printable_id(text: str) -> str:
    """An id on one line. Backslashes are doubled, so that no two ids look the same."""
    return printable(text.replace("\\", "\\\\"))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "-", optional: Sequence[str] = ()
) -> None:
    """Print rows under a heading. An empty cell is printed as `empty`, so that every row has as many words as columns.
    On a terminal that is too narrow for whole words, the columns in `optional` are left out, the first of them
    first."""
    shown = [[column.upper() for column in columns], *([printable(cell) or empty for cell in row] for row in rows)]
    if is_terminal():
        from . import terminal

        terminal.print_table(shown, [column.upper() for column in optional])
    else:
        _print_aligned(shown)


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Print names and values, one pair on a line."""
    width = max(map(len, pairs), default=0)
    if is_terminal():
        from . import terminal

        terminal.print_pairs([[name, printable(value) or "-"] for name, value in pairs.items()])
        return
    for name, value in pairs.items():
        print(f"{name:<{width}}  {printable(value) or '-'}")


def print_line_json(value: object) -> None:
    """Print one document on a line of its own, and flush it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(json_bytes(value) + b"\n")
    sys.stdout.buffer.flush()


def _print_aligned(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
