"""The numbers of many members under one name, read at once.

A choice among a thousand members must not ask a thousand times. Their gauges are words in rows of one size, so a
strided copy of shared memory has all values, and a second one all checks (see `adsum._gauges`). As integers of many
words the two are compared with all keys in one operation: a value that was read while its member was writing it, or
that was not written for its entry, shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress, groupby, repeat
from operator import eq
from typing import Protocol, TypeAlias

from ._gauges import OpenRows
from ._member_row import ROW_WORDS, gauges_at, key_of
from ._ordering import number_of
from .model import Entry

# How often the rows are read, where some members are writing.
_TRIES = 3
_WORD_BYTES = 8


class Column(Protocol):
    """The numbers of the members of one result, under one name."""

    def least(self) -> int | None:
        """The place of the member with the least number, of equals the first one. None where it cannot be told so."""
        ...


class StoredColumn:
    """Numbers in `resources`, or none at all: they are as they were when the entries were read."""

    def __init__(self, entries: Sequence[Entry], name: str) -> None:
        self._least = place_of_least([number_of(entry, name) for entry in entries])

    def least(self) -> int | None:
        return self._least


class GaugeColumn:
    """The gauges of entries that all have one of this name, and a row of their own."""

    def __init__(self, entries: Sequence[Entry], name: str, rows: OpenRows) -> None:
        self._rows = rows
        found = sorted(
            (gauges_at(entry) + 2 * list(entry.metadata.gauges).index(name), key_of(entry), place)
            for place, entry in enumerate(entries)
        )
        # In the order of the rows: where the values are, as slices, and the places of their members.
        self._slices = _slices([at for at, _, _ in found])
        self._end = found[-1][0] + 1
        self._places = [place for _, _, place in found]
        self._keys = int.from_bytes(b"".join(key.to_bytes(_WORD_BYTES, "little") for _, key, _ in found), "little")

    def least(self) -> int | None:
        values = self._values()
        if values is None:
            return None
        least = min(values)
        if math.isnan(least):
            # No value of a gauge, whatever program wrote it.
            return None
        if values.count(least) == 1:
            return self._places[values.index(least)]
        return min(compress(self._places, map(eq, values, repeat(least))))

    def _values(self) -> list[float] | None:
        """In the order of the rows; None where one of them could not be read."""
        rows = self._rows
        if self._end >= rows.ready:
            # They may have memory since.
            rows.renew()
            if self._end >= rows.ready:
                return None
        words = rows.words
        for _ in range(_TRIES):
            values = b"".join([words[begin:end:ROW_WORDS].tobytes() for begin, end in self._slices])
            checks = b"".join([words[begin + 1 : end + 1 : ROW_WORDS].tobytes() for begin, end in self._slices])
            if int.from_bytes(values, "little") ^ int.from_bytes(checks, "little") == self._keys:
                numbers: list[float] = memoryview(values).cast("d").tolist()  # type: ignore[assignment]
                return numbers
        return None


# By name; None where members differ in where they have the number.
Columns: TypeAlias = "dict[str, Column | None]"
# So many names are kept of one result; those of more begin anew.
_MOST_NAMES = 8


def column_of(entries: Sequence[Entry], name: str, rows: OpenRows, columns: Columns) -> Column | None:
    """The column of these entries under a name, kept in `columns`. None where they have to be asked one by one."""
    if name not in columns:
        if len(columns) >= _MOST_NAMES:
            columns.clear()
        columns[name] = _make(entries, name, rows)
    return columns.get(name)


def _make(entries: Sequence[Entry], name: str, rows: OpenRows) -> Column | None:
    with_gauge = sum(name in entry.metadata.gauges for entry in entries)
    if not with_gauge:
        return StoredColumn(entries, name)
    if with_gauge < len(entries) or not all(entry.row_place for entry in entries):
        return None
    return GaugeColumn(entries, name, rows)


def place_of_least(numbers: Sequence[float | None]) -> int:
    """The place of the first least number; 0 where there is none."""
    return min(range(len(numbers)), key=lambda place: (numbers[place] is None, numbers[place] or 0))


def _slices(places: list[int]) -> list[tuple[int, int]]:
    """Ascending places as slices of rows that follow each other."""
    slices = []
    for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0] * ROW_WORDS):
        at = [place for _, place in run]
        slices.append((at[0], at[-1] + 1))
    return slices
