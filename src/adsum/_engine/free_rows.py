"""The member rows that no entry has.

A program may be stopped before it writes into its row, and go on when the row has become free. So a row that becomes
free is not given again before many others are; these are so few that rows take little more memory than are in use.
"""

from __future__ import annotations

from .._member_row import ROW_BITS, row_of
from .._store.layout import Change
from .._store.page_layout import MEMBER_ROWS
from ..model import Entry

# So many rows that have become free wait, the longest first, while there are others that were never given.
RESTING_ROWS = 1024


class FreeMemberRows:
    """The free rows of one registry. `salt` makes the places of this registrar different from those of all others; it
    has at most 48 bits, and is not 0."""

    def __init__(self, salt: int = 1) -> None:
        self._salt = salt
        # Rows from this number on were never given, except those that an earlier registrar gave.
        self._untouched = 0
        self._given_before: set[int] = set()
        # In the order in which they became free.
        self._freed: dict[int, None] = {}
        # The next ones to be given.
        self._next: list[int] = []
        self._taken = 0

    def __len__(self) -> int:
        return MEMBER_ROWS - self._taken

    def place(self, number: int) -> int:
        """The place for the next entry but `number`. It is given with the commit: see `follow`."""
        while len(self._next) <= number:
            self._next.append(self._draw())
        return self._salt << ROW_BITS | self._next[number]

    def _draw(self) -> int:
        while self._untouched in self._given_before:
            self._given_before.remove(self._untouched)
            self._untouched += 1
        if self._freed and (len(self._freed) > RESTING_ROWS or self._untouched >= MEMBER_ROWS):
            row = next(iter(self._freed))
            del self._freed[row]
            return row
        self._untouched += 1
        return self._untouched - 1

    def take_up(self, entry: Entry) -> None:
        """An entry of an earlier registrar has its row. Before the first row is given."""
        if entry.row_place:
            self._given_before.add(row_of(entry.row_place))
            self._taken += 1

    def follow(self, change: Change) -> None:
        """A change was committed: it gave a row, or freed one."""
        before = change.before.entry.row_place if change.before else 0
        after = change.after.entry.row_place if change.after else 0
        if before == after:
            return
        if after:
            self._take(row_of(after))
        if before:
            self._freed[row_of(before)] = None
            self._taken -= 1

    def _take(self, row: int) -> None:
        self._taken += 1
        if row in self._next:
            self._next.remove(row)
        else:
            # Freed and given by the same batch.
            del self._freed[row]
