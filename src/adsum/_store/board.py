"""The board: a mapped file beside the page, with what readers need besides.

It has the change counters of index keys, which validate results of searches (see `kept_results`), the lifelines (see
`lifelines`), the words of hosts (see `hosts`), and the rows of members (see `member_rows`). It is a file of its own
because versions before it know the size of the page. A board has a random number, and the page names the one that is in
use: a registrar that finds none, because it was removed or damaged, makes another. Where a reader finds none, it keeps
no results, asks the kernel about each owner, and has heartbeats and gauges as they are stored.
"""

from __future__ import annotations

import mmap
import os
import weakref
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from .. import _gauges
from .._foreign import reraise_foreign
from .._os import identity
from .._os.mapped_file import MappedFile, create_mapped, open_mapped
from ..errors import RegistryFull
from ..model import Entry
from .hosts import HostWords
from .layout import BY_NAMESPACE, INDEXES, KEPT_KEYS, namespace_key
from .member_rows import MemberRows
from .page_layout import BOARD_COUNTERS_AT, BOARD_SIZE, HOSTS_AT, INDEX_BUCKETS, LIFELINES_AT, ROWS_AT, WORD_BYTES

_NAME = "board"
# The first word. The second one is `member_rows.ALLOCATED`; those from the fourth to the counters belong to `hosts`.
_NUMBER = 0
# The inode of the time namespace of the registrar, whose monotonic clock the times on the board are of.
_TIME_NAMESPACE = 2
_INDEX_SEEDS = {table: crc32(table.encode()) for table in (*INDEXES, BY_NAMESPACE)}


def index_bucket_of(table: str, key: bytes) -> int:
    """The number of the counter of all entries that have this row in this index."""
    return crc32(key, _INDEX_SEEDS[table]) % INDEX_BUCKETS


@lru_cache(KEPT_KEYS)
def index_buckets_of(keys: frozenset[tuple[str, bytes]]) -> frozenset[int]:
    """`index_bucket_of` for the rows of an entry."""
    return frozenset([crc32(key, _INDEX_SEEDS[table]) % INDEX_BUCKETS for table, key in keys])


@lru_cache(KEPT_KEYS)
def namespace_bucket_of(namespace: str) -> int:
    """The number of the counter of all entries of a namespace."""
    return index_bucket_of(*namespace_key(namespace))


class Board:
    """The mapped board of one registry. `counters` and `lifelines` are read in the hot path."""

    def __init__(self, words: memoryview, mapped: MappedFile | None = None) -> None:
        self._words = words
        self._mapped = mapped
        self.number = words[_NUMBER]
        self.counters = words[BOARD_COUNTERS_AT:LIFELINES_AT]
        self.lifelines = words[LIFELINES_AT:HOSTS_AT]
        self.rows = MemberRows(words)

    def host_words(self, boottime: Callable[[], int]) -> HostWords:
        """The words of hosts on it, judged by the clock `boottime`."""
        return HostWords(self._words[HOSTS_AT:ROWS_AT], self._words[:BOARD_COUNTERS_AT], boottime)

    @property
    def has_clock_of_this_process(self) -> bool:
        """Whether the times on the board are of the monotonic clock that this process reads."""
        return bool(self._words[_TIME_NAMESPACE] == identity.time_namespace())

    def serve(self) -> None:
        """The times on it are of the clock of this process from now on."""
        self._words[_TIME_NAMESPACE] = identity.time_namespace()

    def allocate_rows(self, folder: Path, entries: list[Entry]) -> None:
        """Have memory for the rows that are given to these entries. Errors: `RegistryFull` where there is no room for
        gauges; heartbeats without room are requests."""
        try:
            self.rows.allocate(path_in(folder), entries)
        except RegistryFull:
            if any(entry.metadata.gauges for entry in entries):
                raise


def _no_board() -> Board:
    """Its counters are odd, as in a commit that never ends, and it has no lifeline. Its memory is never touched."""
    board = Board(memoryview(mmap.mmap(-1, BOARD_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)).cast("Q"))
    board.counters = memoryview(array("Q", [1]) * INDEX_BUCKETS)
    return board


NO_BOARD = _no_board()


def path_in(folder: Path) -> Path:
    return folder / _NAME


def create(folder: Path) -> Board:
    """A new board, put in its place in one step when it is complete."""
    unfinished = folder / f"{_NAME}.new"
    mapped = create_mapped(unfinished, BOARD_SIZE, allocated=WORD_BYTES * ROWS_AT)
    mapped.words[_NUMBER] = int.from_bytes(os.urandom(8), "little") or 1
    board = Board(mapped.words, mapped)
    board.serve()
    unfinished.rename(path_in(folder))
    return board


def attach(folder: Path, number: int, *, writable: bool = False) -> Board:
    """The board with this number, to read, or to write gauges; `NO_BOARD` where there is none. As long as one to read
    is in use, entries have the present values of their gauges."""
    try:
        board = _attach(folder, number, writable=writable)
    except OSError as error:
        reraise_foreign(error)
        return NO_BOARD
    if board is None:
        return NO_BOARD
    board.rows.refresh()
    if writable:
        return board
    _gauges.add_open(board.rows)
    weakref.finalize(board, _gauges.remove_open, board.rows).atexit = False
    return board


def attach_or_create(folder: Path, number: int) -> Board:
    """The board for the registrar: that with this number, or another where it is missing or damaged."""
    try:
        board = _attach(folder, number, writable=True)
    except IsADirectoryError:
        path_in(folder).rmdir()
        board = None
    if board is None:
        return create(folder)
    board.serve()
    return board


def _attach(folder: Path, number: int, *, writable: bool) -> Board | None:
    mapped = open_mapped(path_in(folder), _size_to_map, writable=writable)
    return None if mapped is None or not number or mapped.words[_NUMBER] != number else Board(mapped.words, mapped)


def _size_to_map(file: os.stat_result) -> int:
    return BOARD_SIZE if file.st_size == BOARD_SIZE else 0
