"""The member rows of a board: where members leave their heartbeats and the values of their gauges, without a request
(see `adsum._member_row`).

The registrar gives a row to each entry that has gauges or promises heartbeats, and writes the values of its
registration there after the commit that makes the entry visible: until the commit the row may be another entry's, and
until it is written a reader takes those values from the entry. Memory is allocated before the commit, in the order of
the rows, for so many as were needed at one time; until then the file has a hole there, and a row in it is never
touched: a page that a full file system cannot provide is SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from .._heartbeat import CHECK, LATE, NO_HEARTBEAT, WALL, HeartbeatTime, with_heartbeat
from .._member_row import GAUGE_CHECK, GAUGE_COPY, GAUGE_WORDS, ROW_WORDS, gauges_at, heartbeat_at, key_for, key_of
from ..errors import AdsumError, RegistryFull
from ..model import Entry, HealthSource
from .page_layout import ROWS_AT, WORD_BYTES

_PAGE_BYTES = 4096
_word, _float = struct.Struct("=Q"), struct.Struct("=d")
# The word of the board that says how many words of rows have memory.
ALLOCATED = 1


class MemberRows:
    """The rows in a mapped board, given as its words."""

    def __init__(self, board: memoryview) -> None:
        self._board = board
        self.words = board[ROWS_AT:]
        self.floats = self.words.cast("B").cast("d")
        self.ready = 0
        self.in_use = board[:1]
        self.number = board[0]
        self._renew: Callable[[], Callable[[], object] | None] = _nothing

    def refresh(self) -> int:
        """Make `ready` the number of words that have memory now, and return it."""
        self.ready = min(self._board[ALLOCATED], len(self.words))
        return self.ready

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
        return self._bits(at, key) is not None

    def value(self, at: int, key: int) -> float | None:
        """That value; None where there is none."""
        bits = self._bits(at, key)
        return None if bits is None else float(_float.unpack(_word.pack(bits))[0])

    def _bits(self, at: int, key: int) -> int | None:
        words = self.words
        while at < self.ready:
            check: int = words[at + GAUGE_CHECK]
            if check ^ key in (words[at], words[at + GAUGE_COPY]):
                return check ^ key
            if words[at + GAUGE_CHECK] == check:
                return None
        return None

    def write(self, at: int, key: int, value: float) -> None:
        """Write a value where there is memory. Of several threads that write at the same time, one is the last."""
        words, check, copy = self.words, at + GAUGE_CHECK, at + GAUGE_COPY
        while True:
            # The value that counts stays until the new one does.
            first, second = (copy, at) if words[at] ^ words[check] == key else (at, copy)
            self.floats[first] = value
            bits = words[first]
            words[check] = bits ^ key
            if words[first] == bits:
                words[second] = bits
                return

    def heartbeat(self, at: int, key: int) -> HeartbeatTime:
        """The last heartbeat that was left there for the entry with this key."""
        if at < self.ready:
            words = self.words
            monotonic, wall = words[at], words[at + WALL]
            if monotonic ^ wall ^ key == words[at + CHECK]:
                return HeartbeatTime(monotonic, wall)
        return NO_HEARTBEAT

    def leave_heartbeat(self, at: int, key: int, monotonic: int, wall: int) -> bool:
        """Leave a heartbeat. False where a request has to bring it: the member is late, or another thread has left one
        at the same moment.

        The word of the registrar is read once more at the end. The registrar writes it, and then looks for a heartbeat:
        one of the two sees what the other has written (as in Dekker's algorithm).
        """
        words = self.words
        if words[at + LATE]:
            return False
        words[at] = monotonic
        words[at + WALL] = wall
        words[at + CHECK] = monotonic ^ wall ^ key
        return words[at] == monotonic and not words[at + LATE]

    # The registrar's side

    def allocate(self, path: Path, entries: list[Entry]) -> None:
        """Have memory for the rows of these entries, in the file at `path`. Errors: `RegistryFull`."""
        self.refresh()
        needed = ROW_WORDS + max(heartbeat_at(entry.row_place) for entry in entries)
        if needed <= self.ready:
            return
        end = -(-WORD_BYTES * (ROWS_AT + needed) // _PAGE_BYTES) * _PAGE_BYTES
        try:
            _allocate(path, min(end, self._board.nbytes))
        except OSError as error:
            raise RegistryFull(
                f"there is no room in {path} for the gauges of {len(entries)} more members ({error}); free space in "
                "its file system, or make that tmpfs larger (adsum doctor names it)"
            ) from error
        self._board[ALLOCATED] = min(end // WORD_BYTES - ROWS_AT, len(self.words))
        self.refresh()

    def begin(self, entry: Entry) -> None:
        """Write what its registration gives where nothing is written for this entry."""
        at, key = heartbeat_at(entry.row_place), key_of(entry)
        if at >= self.ready:
            return
        self.words[at + LATE] = entry.health_source is HealthSource.registrar
        at = gauges_at(entry)
        for value in entry.metadata.gauges.values():
            if not self.fits(at, key):
                self.write(at, key, value)
            at += GAUGE_WORDS

    def end(self, entry: Entry) -> None:
        """Clear what was written for an entry that is over, and not for an entry that has its row by now."""
        at, key = heartbeat_at(entry.row_place), key_of(entry)
        if self.heartbeat(at, key) != NO_HEARTBEAT:
            self.words[at + CHECK] = self.words[at + WALL] = self.words[at] = 0
        at = gauges_at(entry)
        for gauge in range(at, at + GAUGE_WORDS * len(entry.metadata.gauges), GAUGE_WORDS):
            if self.fits(gauge, key):
                self.words[gauge + GAUGE_CHECK] = self.words[gauge] = self.words[gauge + GAUGE_COPY] = 0

    def last_heartbeat(self, place: int, incarnation: int) -> int:
        """When the last heartbeat of an entry was left, on the monotonic clock; 0 where none was."""
        return self.heartbeat(heartbeat_at(place), key_for(place, incarnation)).monotonic if place else 0

    def require_requests(self, place: int) -> None:
        """From now on the heartbeats of this member are requests."""
        if place and (at := heartbeat_at(place)) < self.ready:
            self.words[at + LATE] = 1

    def allow_heartbeats(self, place: int) -> None:
        """From now on this member leaves its heartbeats here."""
        if place and (at := heartbeat_at(place)) < self.ready:
            self.words[at + LATE] = 0

    def with_heartbeat(self, entry: Entry) -> Entry:
        """A stored entry, with the last heartbeat that its member has left."""
        if entry.metadata.heartbeat is None or not entry.row_place:
            return entry
        heartbeat = self.heartbeat(heartbeat_at(entry.row_place), key_of(entry))
        return with_heartbeat(entry, heartbeat.wall) if heartbeat.wall else entry


def _nothing() -> None:
    return None


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
