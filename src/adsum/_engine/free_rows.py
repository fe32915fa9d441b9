"""The gauge rows that no entry has. A row that becomes free is the last one to be given again: a program that still
writes into it should meet no other member there for as long as possible."""

from __future__ import annotations

from collections import deque

from .._gauges import ROW_BITS, row_of
from .._store.layout import Change
from .._store.page_layout import GAUGE_ROWS
from ..model import Entry


class FreeRows:
    """Those of one registry. `salt` makes the places of this registrar different from those of all others; it has at
    most 48 bits, and is not 0."""

    def __init__(self, salt: int = 1) -> None:
        self._salt = salt
        self._free = deque(range(GAUGE_ROWS))

    def __len__(self) -> int:
        return len(self._free)

    def place(self, number: int) -> int:
        """The place for the next entry but `number`. It is given with the commit: see `follow`."""
        return self._salt << ROW_BITS | self._free[number]

    def take_up(self, entry: Entry) -> None:
        """An entry of an earlier registrar has its row."""
        if entry.gauge_place and (row := row_of(entry.gauge_place)) in self._free:
            self._free.remove(row)

    def follow(self, change: Change) -> None:
        """A change was committed: it gave a row, or freed one."""
        before = change.before.entry.gauge_place if change.before else 0
        after = change.after.entry.gauge_place if change.after else 0
        if before == after:
            return
        if after:
            self._free.remove(row_of(after))
        if before:
            self._free.append(row_of(before))
