"""How answers look: tables on a terminal, aligned columns in a pipe, JSON for programs.

What other processes registered is data, never instructions to a terminal: whatever cannot be printed is shown escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...model import Entry, HealthSource

_SOURCES = {
    HealthSource.process: "says so itself",
    HealthSource.other: "another process says so",
    HealthSource.registrar: "registrar: sign of life late",
}


def is_terminal() -> bool:
    """Whether a person looks."""
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    """One document: times as ISO 8601, bytes as base64, always UTF-8."""
    document = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(document)


def entry_document(entry: Entry) -> dict[str, Any]:
    """An entry with all its fields, for JSON; `id` is the process id in one piece."""
    document = _fields(entry)
    document["process_id"] = entry.process_id._asdict()
    document["metadata"] = _fields(entry.metadata)
    return {"id": str(entry.process_id), **document}


def _fields(record: Entry | Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def printable(text: str) -> str:
    """The text on one line, its control characters escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_id(text: str) -> str:
    """An id on one line. No other id looks the same, because a backslash is shown as two."""
    return printable(text.replace("\\", "\\\\"))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "-", given_up: Sequence[str] = ()
) -> None:
    """Rows under a heading. An empty cell is shown as `empty`, so that every row has as many words as columns. On a
    terminal that is too narrow for whole words the columns in `given_up` are left out, the first of them first."""
    shown = [[column.upper() for column in columns], *([printable(cell) or empty for cell in row] for row in rows)]
    if is_terminal():
        from . import on_terminal

        on_terminal.print_table(shown, [column.upper() for column in given_up])
    else:
        _print_aligned(shown)


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, pairs), default=0)
    if is_terminal():
        from . import on_terminal

        on_terminal.print_pairs([[name, printable(value) or "-"] for name, value in pairs.items()])
        return
    for name, value in pairs.items():
        print(f"{name:<{width}}  {printable(value) or '-'}")


def print_line_json(value: object) -> None:
    """One document on a line of its own, handed on at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def _print_aligned(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def health(entry: Entry, *, always_by: bool = False) -> str:
    """The health status, how long ago it was said or confirmed, and by whom, unless that is the process itself:
    ``degraded 3s (registrar: sign of life late)``."""
    says = f"{entry.metadata.health_status} {ago(entry.metadata.last_health_check)}"
    by_itself = entry.health_source is HealthSource.process
    return says if by_itself and not always_by else f"{says} ({source(entry)})"


def source(entry: Entry) -> str:
    """Who says so of its health."""
    return _SOURCES[entry.health_source]


def heartbeat(entry: Entry) -> str:
    """What sign of life is promised and when the last one came; nothing where none is."""
    every = entry.metadata.heartbeat
    if every is None:
        return ""
    last = seconds_since(entry.metadata.last_health_check)
    late = f", {last - every:.1f} s late" if last > every else ""
    return f"every {every:g} s, the last {last:.1f} s ago{late}"


def seconds_since(moment: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def clock(moment: datetime) -> str:
    """The local time of day, to the millisecond; with the date where that is another than today."""
    local = moment.astimezone()
    time_of_day = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    return time_of_day if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d} {time_of_day}"


def ago(moment: datetime) -> str:
    """How long ago, in at most two units; a moment in the future was just now."""
    return duration(seconds_since(moment))


def duration(seconds: float) -> str:
    """Seconds in at most two units: ``5s``, ``3m12s``, ``2h05m``, ``4d07h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, next_unit, size, next_size in (("m", "s", 60, 1), ("h", "m", 3600, 60)):
        if whole < size * (60 if unit == "m" else 24):
            return f"{whole // size}{unit}{whole % size // next_size:02}{next_unit}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(number: int) -> str:
    """Bytes in the largest unit of which there is at least one."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"
