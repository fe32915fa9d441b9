"""The gauge rows of a board: where members put the values of their gauges (see `adsum._gauges`).

The registrar gives each entry that has gauges a row of its own, and writes the values of its registration there before
the commit that makes the entry visible. Memory is allocated in the order of the rows, for so many as were needed at one
time; until then the file has a hole there, and a row in it is never touched: a page that a full file system cannot
provide is SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from .._gauges import ROW_WORDS, first_word_of, key_of
from ..errors import AdsumError, RegistryFull
from ..model import Entry
from .page_layout import GAUGES_AT, WORD_BYTES

_PAGE_BYTES = 4096
# The word of the board that says how many words of rows have memory.
ALLOCATED = 1


class GaugeRows:
    """The rows in a mapped board, given as its words."""

    def __init__(self, board: memoryview) -> None:
        self._board = board
        self.words = board[GAUGES_AT:]
        self.floats = self.words.cast("B").cast("d")
        self.ready = 0
        self.in_use = board[:1]
        self.number = board[0]
        self._renew: Callable[[], Callable[[], object] | None] = _nothing

    def refresh(self) -> None:
        """Make `ready` the number of words that have memory now."""
        self.ready = min(self._board[ALLOCATED], len(self.words))

    def belong_to(self, in_use: memoryview, renew: Callable[[], object]) -> None:
        """Read them for a registry: `in_use` has the number of its present board, which the method `renew` opens."""
        self.in_use = in_use
        self._renew = weakref.WeakMethod(renew)

    def renew(self) -> None:
        """`refresh`, and open the board that is in use. Lets other threads run, and a writer that has no processor."""
        time.sleep(0)
        self.refresh()
        if (renew := self._renew()) is not None:
            # Where the registry cannot be read, its entries have the values of their registrations.
            with contextlib.suppress(AdsumError):
                renew()

    def fits(self, at: int, key: int) -> bool:
        """Whether there is memory at this word, and a value of the entry with this key in it."""
        return at < self.ready and self.words[at] ^ self.words[at + 1] == key

    def write(self, at: int, key: int, value: float) -> None:
        """Write a value where there is memory. Of several threads that write at the same time, one is the last."""
        words = self.words
        self.floats[at] = value
        while True:
            bits = words[at]
            words[at + 1] = bits ^ key
            if words[at] == bits:
                return

    # The registrar's side

    def allocate(self, path: Path, entries: list[Entry]) -> None:
        """Have memory for the rows of these entries, in the file at `path`. Errors: `RegistryFull`."""
        self.refresh()
        needed = ROW_WORDS + max(map(first_word_of, entries))
        if needed <= self.ready:
            return
        end = -(-WORD_BYTES * (GAUGES_AT + needed) // _PAGE_BYTES) * _PAGE_BYTES
        try:
            _allocate(path, min(end, self._board.nbytes))
        except OSError as error:
            raise RegistryFull(
                f"there is no room in {path} for the gauges of {len(entries)} more members ({error}); free space in "
                "its file system, or make that tmpfs larger (adsum doctor names it)"
            ) from error
        self._board[ALLOCATED] = min(end // WORD_BYTES - GAUGES_AT, len(self.words))
        self.refresh()

    def begin(self, entry: Entry) -> None:
        """Write the values of its registration where it has none. Its row has memory."""
        at, key = first_word_of(entry), key_of(entry)
        for value in entry.metadata.gauges.values():
            if not self.fits(at, key):
                self.write(at, key, value)
            at += 2

    def end(self, entry: Entry) -> None:
        """Clear the values of an entry that is over, and not those of an entry that has its row by now."""
        at, key = first_word_of(entry), key_of(entry)
        for pair in range(at, at + 2 * len(entry.metadata.gauges), 2):
            if self.fits(pair, key):
                self.words[pair + 1] = self.words[pair] = 0


def _nothing() -> None:
    return None


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
