"""The numbers of many members under one name, read at once.

A choice among a thousand members must not ask a thousand times. Their gauges are words in rows of one size, so one
strided copy of shared memory has the checks of all (see `adsum._gauges`). A check differs where the value differs, so
checks that are as they were give the least value that was found with them. The members are compared in blocks, and
only in a block with another check are the values read. As integers of many words, checks and all keys of the block
give all values in one operation, and a value that was not written for its entry shows: no copy of it is there.

No such copy of memory is of one moment: each number is one that its member had while the copy was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress, groupby, repeat
from operator import contains, eq
from typing import NamedTuple, Protocol, TypeAlias

from ._gauges import OpenMemberRows
from ._member_row import GAUGE_CHECK, GAUGE_COPY, GAUGE_WORDS, ROW_WORDS, gauges_at, key_of
from ._ordering import number_of
from .model import Entry

# How often the rows are read, where some members are writing.
_TRIES = 3
_WORD_BYTES = 8
# So many members are compared in one block.
_BLOCK = 64


class Column(Protocol):
    """The numbers of the members of one result, under one name."""

    def least(self) -> int | None:
        """The index of the member with the least number, of equals the first one. None where it cannot be told so."""
        ...


class StoredColumn:
    """Numbers in `resources`, or none at all: they are as they were when the entries were read."""

    def __init__(self, entries: Sequence[Entry], name: str) -> None:
        self._least = index_of_least([number_of(entry, name) for entry in entries])

    def least(self) -> int | None:
        return self._least


# The least value of some members, and the first index of one that has it.
_Least: TypeAlias = "tuple[float, int]"


class GaugeColumn:
    """The gauges of entries that all have one of this name, and a row of their own."""

    def __init__(self, entries: Sequence[Entry], name: str, rows: OpenMemberRows) -> None:
        self._rows = rows
        found = sorted(
            (gauges_at(entry) + GAUGE_WORDS * list(entry.metadata.gauges).index(name), key_of(entry), index)
            for index, entry in enumerate(entries)
        )
        # In the order of the rows.
        self._slices = _slices([at for at, _, _ in found])
        self._end = found[-1][0] + GAUGE_COPY
        self._blocks = _blocks(found, self._slices)
        # Replaced as a whole, so that threads may choose at the same time.
        self._known = _KnownLeast(b"", [(math.nan, 0)] * len(self._blocks), None)

    def least(self) -> int | None:
        checks = self._checks()
        if checks is None:
            return None
        known = self._known
        if checks != known.checks:
            newer = self._after(known, checks)
            if newer is None:
                return None
            self._known = known = newer
        return known.first

    def _checks(self) -> bytes | None:
        """The checks of all values; None where there is no memory for one of them."""
        rows = self._rows
        if self._end >= rows.ready:
            # They may have memory since.
            rows.renew()
            if self._end >= rows.ready:
                return None
        return b"".join([_words_of(rows.words, values, GAUGE_CHECK) for values in self._slices])

    def _after(self, known: _KnownLeast, checks: bytes) -> _KnownLeast | None:
        """What is known once the blocks have been read whose checks differ; None where one of them cannot be."""
        parts, leasts = [], []
        for block, least in zip(self._blocks, known.leasts, strict=True):
            found = checks[block.checks], least
            if found[0] != known.checks[block.checks]:
                read = block.read(self._rows.words, found[0])
                if read is None:
                    return None
                found = read
            parts.append(found[0])
            leasts.append(found[1])
        number, index = min(leasts)
        # Not a number is no value of a gauge, whatever program wrote it.
        return _KnownLeast(b"".join(parts), leasts, None if math.isnan(number) else index)


class _KnownLeast(NamedTuple):
    """The least value of all, found with these checks: of all members, and of each block."""

    checks: bytes
    leasts: list[_Least]
    first: int | None


class _Block(NamedTuple):
    """Some members whose rows follow each other: where their values are, among the words of all rows, and their checks,
    among the bytes of all checks; their keys, as one number; their indices."""

    values: slice
    checks: slice
    keys: int
    indices: list[int]

    def read(self, words: memoryview, checks: bytes) -> tuple[bytes, _Least] | None:
        """The checks, those given or newer ones, and the least of the values that fit them. None where one has no such
        value, after some tries."""
        for _ in range(_TRIES):
            values = (int.from_bytes(checks, "little") ^ self.keys).to_bytes(len(checks), "little")
            found = _words_of(words, self.values, 0)
            if values == found or _is_one_of(values, found, _words_of(words, self.values, GAUGE_COPY)):
                numbers: list[float] = memoryview(values).cast("d").tolist()  # type: ignore[assignment]
                return checks, self._least(numbers)
            checks = _words_of(words, self.values, GAUGE_CHECK)
        return None

    def _least(self, values: list[float]) -> _Least:
        least = min(values)
        if values.count(least) == 1:
            return least, self.indices[values.index(least)]
        return least, min(compress(self.indices, map(eq, values, repeat(least))))


def _words_of(words: memoryview, values: slice, offset: int) -> bytes:
    """One word of each gauge, so far from its value."""
    return words[values.start + offset : values.stop + offset : ROW_WORDS].tobytes()


def _is_one_of(values: bytes, *copies: bytes) -> bool:
    """Whether each word of `values` is that of one of the copies."""
    words = memoryview(values).cast("Q")
    return all(map(contains, zip(*(memoryview(copy).cast("Q") for copy in copies), strict=True), words))


# By name; None where members differ in where they have the number.
Columns: TypeAlias = "dict[str, Column | None]"
# So many names are kept of one result; those of more begin anew.
_MOST_NAMES = 8


def column_of(entries: Sequence[Entry], name: str, rows: OpenMemberRows, columns: Columns) -> Column | None:
    """The column of these entries under a name, kept in `columns`. None where they have to be asked one by one."""
    if name not in columns:
        if len(columns) >= _MOST_NAMES:
            columns.clear()
        columns[name] = _make(entries, name, rows)
    return columns.get(name)


def _make(entries: Sequence[Entry], name: str, rows: OpenMemberRows) -> Column | None:
    with_gauge = sum(name in entry.metadata.gauges for entry in entries)
    if not with_gauge:
        return StoredColumn(entries, name)
    if with_gauge < len(entries) or not all(entry.row_place for entry in entries):
        return None
    return GaugeColumn(entries, name, rows)


def index_of_least(numbers: Sequence[float | None]) -> int:
    """The index of the first least number; 0 where there is none."""
    return min(range(len(numbers)), key=lambda index: (numbers[index] is None, numbers[index] or 0))


def _slices(indices: list[int]) -> list[slice]:
    """Ascending indices as slices of rows that follow each other."""
    slices = []
    for _, run in groupby(enumerate(indices), lambda pair: pair[1] - pair[0] * ROW_WORDS):
        at = [index for _, index in run]
        slices.append(slice(at[0], at[-1] + 1))
    return slices


def _blocks(found: list[tuple[int, int, int]], slices: list[slice]) -> list[_Block]:
    """Members, each given as where its value is, its key and its index, in the order of the rows."""
    blocks, first = [], 0
    for run in slices:
        for start in range(run.start, run.stop, _BLOCK * ROW_WORDS):
            values = slice(start, min(run.stop, start + _BLOCK * ROW_WORDS))
            last = first + len(range(values.start, values.stop, ROW_WORDS))
            keys = b"".join(key.to_bytes(_WORD_BYTES, "little") for _, key, _ in found[first:last])
            indices = [index for _, _, index in found[first:last]]
            checks = slice(_WORD_BYTES * first, _WORD_BYTES * last)
            blocks.append(_Block(values, checks, int.from_bytes(keys, "little"), indices))
            first = last
    return blocks
