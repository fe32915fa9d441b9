"""The page: one mapped file with the number of the current tables, and the counters that validate cached entries.

The counters are seqlocks (Linux: Documentation/locking/seqlock.rst) whose write section is a commit. An id belongs to
the counter at ``crc32(key) % BUCKETS``. The registrar makes the counters of a batch odd *before* the commit, and even,
one higher, *after* it. A cached entry is current if its counter has the even value that it had before the entry was
read; this costs two memory reads instead of a search. In the same way each key of an index has a counter, on the board,
which every change of an entry with that key moves: it validates the result of a search.

Marking before the commit is what makes it correct: as soon as a reader can see the new state, no reader trusts the old
one. If the registrar dies in between, the counters stay odd, and readers go to the tables until the next registrar
makes them even. The proof is in docs/internals.md.

`page_layout` says where each word is, and which words are frozen for every later format. All words are aligned and 8
bytes long, so x86-64 and arm64 read and write them whole. System calls and mutexes between mark and commit order the
writes for other processors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from .._foreign import reraise_foreign
from .._os import identity
from .._os.mapped_file import MappedFile, create_mapped, open_mapped
from .._os.presence import is_in_use
from ..errors import AdsumError, CorruptRegistry, VersionMismatch, WrongNamespace
from ..model import Owner
from . import board as boards
from . import lifelines
from . import page_layout as at
from .layout import FORMAT
from .page_layout import BUCKETS, HEADER_BYTES, HEADER_WORDS, SIZE

_NAME = "page"


def bucket_of(key: bytes) -> int:
    """The number of the counter of the id stored under `key`."""
    return crc32(key) % BUCKETS


class OlderFormat(Exception):
    """The page is of an older format. Its callers decide by the processes that need it; see `older_tables`."""

    def __init__(self, page: Page) -> None:
        super().__init__(f"table format {page.format}, older than {FORMAT}")
        self.page = page


class Page:
    """The mapped page of one registry. `counters` is read in the hot path; every other word has a property."""

    def __init__(self, mapped: MappedFile, board: boards.Board = boards.NO_BOARD) -> None:
        self.mapped = mapped
        self.board = board
        # The number of the board that was looked for.
        self._opened_board = 0
        self._header = mapped.words[:HEADER_WORDS]
        self.counters = mapped.words[HEADER_WORDS : HEADER_WORDS + BUCKETS]

    @property
    def lifelines(self) -> memoryview:
        """Those on the board."""
        return self.board.lifelines

    @property
    def format(self) -> int:
        """The format of the page and of the tables beside it."""
        return self._header[at.FORMAT]

    @property
    def generation(self) -> int:
        """The number of the current tables, from 1; 0 when the page is retired and the folder must be opened again."""
        return self._header[at.GENERATION]

    @property
    def map_size(self) -> int:
        return self._header[at.MAP_SIZE]

    @property
    def registrar(self) -> Owner:
        """The newest registrar, which may have died since."""
        pid, start_time, inode = self._header[at.REGISTRAR : at.REGISTRAR + 3]
        return Owner(pid, start_time, inode)

    @property
    def started_ns(self) -> int:
        """When that registrar started serving, on the monotonic clock."""
        return self._header[at.STARTED]

    @property
    def epoch(self) -> int:
        """A random number that no other registry has, an earlier one in the same folder included."""
        return self._header[at.EPOCH]

    @property
    def revision(self) -> int:
        """The revision of the last acknowledged change, or a later one."""
        return self._header[at.REVISION]

    @revision.setter
    def revision(self, revision: int) -> None:
        self._header[at.REVISION] = revision

    @property
    def entries(self) -> int:
        """The number of entries, as of the last commit or the one before it."""
        return self._header[at.ENTRIES]

    @entries.setter
    def entries(self, entries: int) -> None:
        self._header[at.ENTRIES] = entries

    @property
    def promises(self) -> int:
        """The number of entries that promise a heartbeat, as of the last commit."""
        return self._header[at.PROMISES]

    @promises.setter
    def promises(self, promises: int) -> None:
        self._header[at.PROMISES] = promises

    @property
    def board_number(self) -> int:
        """The number of the board in use; 0 where the registrar is of a version without it."""
        return self._header[at.BOARD]

    @board_number.setter
    def board_number(self, number: int) -> None:
        self._header[at.BOARD] = number

    @property
    def board_in_use(self) -> memoryview:
        """The word with that number."""
        return self._header[at.BOARD : at.BOARD + 1]

    def open_board(self, folder: Path, known: boards.Board) -> None:
        """Open the board that is in use now, to read, unless it is the `known` one."""
        self._opened_board = number = self.board_number
        self.board = known if number and known.number == number else boards.attach(folder, number)

    def has_another_board(self) -> bool:
        """Whether the registrar has made a board since this one was opened: nothing marks the counters of this one."""
        return bool(self._header[at.BOARD] != self._opened_board)

    @property
    def restarts(self) -> int:
        return self._header[at.RESTARTS]

    def hold_lifeline(self, folder: Path) -> None:
        """Show from now on that this process lives, to those who read this registry in its folder."""
        number = self.board_number
        # Each registration asks, and making a Path takes longer than looking.
        if number and not lifelines.is_held(number):
            lifelines.hold(boards.path_in(folder), number)

    def is_in(self, folder: Path) -> bool:
        """Whether a process that opens the folder now finds this page. True also where the kernel does not say: unknown
        is never gone."""
        try:
            # The registrar asks before each reply, and making a Path takes longer than the system call.
            return os.path.samestat(self.mapped.file, os.stat(f"{folder}/{_NAME}"))
        except OSError as error:
            reraise_foreign(error)
            return not isinstance(error, (FileNotFoundError, NotADirectoryError))

    def announce(self, registrar: Owner, started_ns: int) -> None:
        """A registrar serves from now on. Counters that a killed registrar left odd become even, one higher."""
        for offset, word in enumerate(registrar):
            self._header[at.REGISTRAR + offset] = word
        if self._header[at.STARTED]:
            # The one before did not leave: it was killed, or failed.
            self._header[at.RESTARTS] += 1
        self._header[at.STARTED] = started_ns
        for counters in (self.counters, self.board.counters):
            _make_even(counters, [bucket for bucket, count in enumerate(counters) if count & 1])

    def leave(self) -> None:
        """The registrar ends in order: the one that follows is no restart."""
        self._header[at.STARTED] = 0

    def switch(self, generation: int, map_size: int) -> None:
        self._header[at.MAP_SIZE] = map_size
        self._header[at.GENERATION] = generation

    def retire(self) -> None:
        """Invalidate everything: no reader trusts a cached entry any more, and every reader opens the folder again."""
        self._header[at.GENERATION] = 0
        # Kept results are found by way of the generation.
        self.mark(range(BUCKETS))

    def mark(self, ids: Iterable[int], keys: Iterable[int] = ()) -> None:
        """Begin the write section of these counters, of ids and of index keys: before the commit."""
        _make_odd(self.counters, ids)
        _make_odd(self.board.counters, keys)

    def settle(self, ids: Iterable[int], keys: Iterable[int] = ()) -> None:
        """End the write section of these counters: after the commit."""
        _make_even(self.counters, ids)
        _make_even(self.board.counters, keys)


def _make_odd(counters: memoryview, buckets: Iterable[int]) -> None:
    for bucket in buckets:
        counters[bucket] |= 1


def _make_even(counters: memoryview, odd: Iterable[int]) -> None:
    for bucket in odd:
        try:
            counters[bucket] += 1
        except ValueError:
            # Another program has written the largest number there.
            counters[bucket] = 0


def path_in(folder: Path) -> Path:
    return folder / _NAME


def create(folder: Path, map_size: int, *, generation: int = 1, epoch: int = 0, restarts: int = 0) -> Page:
    """A new page, put in its place in one step when it is complete: a page that can be opened is whole. Epoch 0 asks
    for a new one."""
    unfinished = folder / "page.new"
    page = Page(create_mapped(unfinished, SIZE), boards.create(folder))
    page.board_number = page.board.number
    header = page._header
    header[at.FORMAT], header[at.MAGIC] = FORMAT, at.MAGIC_VALUE
    boot = identity.boot_id()
    header[at.BOOT], header[at.BOOT + 1] = int.from_bytes(boot[:8], "little"), int.from_bytes(boot[8:], "little")
    header[at.PID_NAMESPACE] = identity.pid_namespace()
    header[at.EPOCH] = epoch or int.from_bytes(os.urandom(8), "little") or 1
    header[at.RESTARTS] = restarts
    page.switch(generation, map_size)
    unfinished.rename(path_in(folder))
    return page


def attach(folder: Path, *, writable: bool = False) -> Page | None:
    """The registry's page, or None where there is no registry of this boot. A writable one has its board.

    Errors: `VersionMismatch` where its format is newer, `OlderFormat` where it is older, `WrongNamespace`,
    `CorruptRegistry`.
    """
    page = peek(folder, writable=writable)
    if page is None:
        return None
    if page.format == FORMAT:
        if writable:
            page.board = boards.attach_or_create(folder, page.board_number)
            page.board_number = page.board.number
        return page
    if page.format < FORMAT:
        raise OlderFormat(page)
    raise VersionMismatch(
        f"the registry in {folder} has table format {page.format}, of a newer adsum than this one, which has {FORMAT}; "
        "upgrade adsum in this environment, or open a registry of your own (another name, path= or ADSUM_DIR)"
    )


def peek(folder: Path, *, writable: bool = False) -> Page | None:
    """The registry's page, of whatever format, or None where there is no registry of this boot, or only one of another
    PID namespace that no process uses any more; without its board. Only the registrar, which holds its lock, asks for
    a writable one.

    Errors: `WrongNamespace`, `CorruptRegistry`.
    """
    path = path_in(folder)
    while True:
        mapped = open_mapped(path, lambda file: _size_to_map(path, file), writable=writable)
        if mapped is None:
            return None
        page = _checked(mapped, path, by_registrar=writable)
        # One that was opened just before a registrar replaced and retired it says nothing about the folder.
        if page is not None or Page(mapped).is_in(folder):
            return page


def readable_in(folder: Path) -> Page | None:
    """`peek`, and None also where the page cannot be read now."""
    try:
        return peek(folder)
    except (AdsumError, OSError) as error:
        reraise_foreign(error)
        return None


def epoch_in(folder: Path) -> int:
    """The epoch of the registry in the folder; 0 where there is none, or where it cannot be read."""
    page = readable_in(folder)
    return 0 if page is None else page.epoch


def _size_to_map(path: Path, file: os.stat_result) -> int:
    # A page of a newer format may have another size: only its frozen words count.
    if file.st_size < HEADER_BYTES:
        raise _wrong_size(path, file)
    return min(file.st_size, SIZE)


def _checked(mapped: MappedFile, path: Path, *, by_registrar: bool) -> Page | None:
    page = Page(mapped)
    if mapped.file.st_size != SIZE and page.format <= FORMAT:
        raise _wrong_size(path, mapped.file)
    return page if _usable(page, path, by_registrar=by_registrar) else None


def _wrong_size(path: Path, file: os.stat_result) -> CorruptRegistry:
    return CorruptRegistry(f"{path} has {file.st_size} bytes instead of {SIZE}; {remedy(path.parent)}")


def _usable(page: Page, path: Path, *, by_registrar: bool) -> bool:
    header = page._header
    if header[at.MAGIC] != at.MAGIC_VALUE:
        raise CorruptRegistry(f"{path} is not a registry's page; {remedy(path.parent)}")
    boot = b"".join(word.to_bytes(8, "little") for word in header[at.BOOT : at.BOOT + 2])
    if boot != identity.boot_id() or page.generation == 0:
        return False
    if header[at.PID_NAMESPACE] != identity.pid_namespace():
        if not is_in_use(path.parent, but_the_registrar=by_registrar):
            # A container that was started again, for example. The entries belong to a namespace without a process.
            return False
        raise WrongNamespace(
            f"{path.parent} is the registry of another PID namespace, where process numbers mean other processes; run "
            "in that namespace (for containers: share it, e.g. --pid=container:NAME), or open a registry of your own"
        )
    return True


def keep_until_retired(folder: Path) -> None:
    """Give the page a second name before `create` puts another in its place; see `retire_replaced`."""
    _replaced_in(folder).unlink(missing_ok=True)
    os.link(path_in(folder), _replaced_in(folder))


def retire_replaced(folder: Path) -> None:
    """Retire the page that was replaced, if there is one. A registrar calls this before it serves: a process that still
    maps that page must not trust it once there may be changes."""
    replaced = _replaced_in(folder)
    # The same file under both names: it was not replaced in the end.
    if not _is_same(replaced, path_in(folder)):
        mapped = open_mapped(replaced, lambda file: _size_to_map(replaced, file), writable=True)
        page = None if mapped is None else _checked(mapped, replaced, by_registrar=True)
        if page is not None:
            page.retire()
    replaced.unlink(missing_ok=True)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except FileNotFoundError:
        return False


def _replaced_in(folder: Path) -> Path:
    return folder / "page.replaced"


def remedy(folder: Path) -> str:
    """The advice about damage, the same in every message."""
    return f"end the processes that use this registry and remove the folder {folder}; registrations are made anew"
