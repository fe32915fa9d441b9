"""The current tables, open in this process: opened when a read needs them, closed when the process quiesces.

The page says which tables are current. That changes when the registrar moves to another generation, or when the folder
is removed and made again. So every read compares first, and opens the tables again if it must.

LMDB adds two rules. A process may open an environment only once, so one lock decides which thread opens. And it may
close the environment only while no thread reads in it, so each read is counted while it runs: `quiesce` lets no new
read begin, waits until the last one has ended, and closes. A fork needs that, because LMDB's reader slot belongs to a
pid, and a child that closed its copy would free the parent's slot.

An interrupt (a signal handler that raises) may end a read between any two steps. A read that ended so must never block
others, so a thread that waits for the end of a read checks from time to time whether the read is still running.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import lmdb
import msgspec

from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os.forking import notice_fork, own
from .._os.locks import holding
from ..errors import AdsumError, CorruptRegistry, RegistryClosed
from ..model import Limits
from . import older_tables, page
from .board import NO_BOARD, Board
from .entry_cache import NO_CACHE, TwoGenerationCache
from .environment import Environment, OpenTables, open_to_read, translate, translating, unreadable_row
from .hosts import boottime_ns
from .kept_results import NO_RESULTS, KeptResults
from .snapshot import Txn
from .tables import check_identity, node_of

T = TypeVar("T")

# How long the folder is assumed to be the one that was opened.
RECHECK_SECONDS = 1.0

# How long `quiesce` waits for a read before it checks whether that read is still running.
LOST_SECONDS = 0.1


class CurrentTables:
    """The tables of one folder, with their page and the cache of their entries. Safe for threads."""

    def __init__(
        self,
        folder: Path,
        make_cache: Callable[[page.Page], TwoGenerationCache] = TwoGenerationCache,
        open_tables: OpenTables = open_to_read,
        boottime: Callable[[], int] = boottime_ns,
    ) -> None:
        self.folder = folder
        self._make_cache = make_cache
        self._open_tables = open_tables
        self._boottime = boottime
        self._closed = False
        self._reset()

    def start_anew(self) -> None:
        """In a forked child, whose locks and threads are its parent's: forget everything that was opened. After a fork
        that Python did not see, the tables are still open, with a reader slot of the parent's."""
        environment = self._environment
        self.cache.drop()
        self._reset()
        if environment is not None:
            environment.close_inherited()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._active: set[int] = set()
        # The thread that quiesces, from before it waits for the reads until `resume`; 0 for none.
        self._quiescer = 0
        self._environment: Environment | None = None
        self._recheck_at = 0.0
        # Kept while the tables are closed for a fork, until `close`: it is memory alone.
        self._use_board(NO_BOARD)
        self.page: page.Page | None = None
        self.limits: Limits | None = None
        self.node: str | None = None
        self.cache = NO_CACHE
        self.results = NO_RESULTS

    def read(self, look: Callable[[Txn, Environment], T], otherwise: T) -> T:
        """What `look` finds in one snapshot, or `otherwise` where there is no registry."""
        if not own[0]:
            notice_fork()
        for last_try in (False, True):
            try:
                return self._read_once(look, otherwise)
            except lmdb.BadRslotError as error:
                # A read that was interrupted at a bad moment left LMDB's reader slot in use: open again.
                if last_try:
                    raise translate(error, self.folder) from error
                self._close_for_now()
            except lmdb.Error as error:
                raise translate(error, self.folder) from error
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                reraise_foreign(error)
                raise unreadable_row(error, self.folder) from error
        raise AssertionError("the last try returns or raises")

    def _read_once(self, look: Callable[[Txn, Environment], T], otherwise: T) -> T:
        # A set of threads, not a number: whatever an interrupt leaves in it, the next read of this thread corrects.
        me = threading.get_ident()
        # A signal handler may read during a read of the same thread; the outer read goes on after it.
        inner = me in self._active
        try:
            if not inner:
                self._begin(me)
            environment = self.current()
            if environment is None:
                return otherwise
            with environment.lmdb.begin() as txn:
                return look(txn, environment)
        finally:
            if not inner:
                self._active.discard(me)
                if self._quiescer:
                    holding(self._lock, self._idle.notify_all)

    def _begin(self, me: int) -> None:
        """Begin a read of this thread; waits while another thread quiesces.

        Takes no lock where none does. Each side first says what it does, then looks at what the other says (Dekker's
        algorithm), so either this read sees the quiescing thread, or that one sees this read.
        """
        self._active.add(me)
        while self._quiescer not in (0, me):
            self._active.discard(me)
            # That one waits for this, or holds the lock until `resume`.
            holding(self._lock, self._idle.notify_all)
            self._active.add(me)

    # The choice of tables

    def current(self) -> Environment | None:
        """The tables that are current, opened if need be; None where there is no registry."""
        if not own[0]:
            notice_fork()
        mapped, environment = self.page, self._environment
        if mapped is None or environment is None or mapped.generation != environment.generation:
            return self._attach()
        if mapped.has_another_board():
            holding(self._lock, self._change_board, mapped)
        if time.monotonic() < self._recheck_at:
            return environment
        # A folder that was removed and made again has another page, and perhaps no registrar retired this one.
        if not mapped.is_in(self.folder):
            return self._attach()
        self._recheck_at = time.monotonic() + RECHECK_SECONDS
        return environment

    @property
    def epoch(self) -> int:
        """That of the registry that is open; see `Page.epoch`."""
        return self.page.epoch if self.page is not None else 0

    def recheck_folder(self) -> None:
        """Check at the next read whether the folder is still the one that was opened."""
        self._recheck_at = 0.0

    def _attach(self) -> Environment | None:
        with translating(self.folder):
            return holding(self._lock, self._attach_unless_other_than, self._environment)

    def _attach_unless_other_than(self, seen: Environment | None) -> Environment | None:
        """Open the tables, unless another thread has opened others than `seen` while this one waited for the lock: LMDB
        must not be opened twice."""
        if self._closed:
            raise RegistryClosed("this registry was closed; open another")
        current, mapped = self._environment, self.page
        if current is not seen and current and mapped and mapped.generation == current.generation:
            return current
        for _ in range(100):
            self._detach()
            if not folders.check(self.folder):
                return None
            # Where no living member needs an older registry, the first write makes it anew.
            mapped, _ = older_tables.attach(self.folder, older_tables.require_no_member)
            if mapped is None:
                return None
            generation = mapped.generation
            if not generation:
                # Retired since.
                continue
            try:
                environment = self._open_tables(self.folder, generation, mapped.map_size)
            except AdsumError:
                # The registrar may have switched to other tables while these were being opened, or the folder is gone.
                if mapped.generation == generation and mapped.is_in(self.folder):
                    raise
                continue
            self.limits, self.node = check_identity(environment), node_of(environment)
            self._open_board(mapped)
            self.page, self._environment, self.cache = mapped, environment, self._make_cache(mapped)
            self.results = KeptResults(mapped.board, environment.indexed)
            self._recheck_at = time.monotonic() + RECHECK_SECONDS
            return environment
        raise CorruptRegistry(f"the registry in {self.folder} is made anew all the time; who removes it?")

    def _change_board(self, mapped: page.Page) -> None:
        if mapped is self.page and self._environment is not None and mapped.has_another_board():
            self._open_board(mapped)
            cache, self.cache = self.cache, self._make_cache(mapped)
            self.results = KeptResults(mapped.board, self._environment.indexed)
            cache.drop()

    def _open_board(self, mapped: page.Page) -> None:
        mapped.open_board(self.folder, self._board)
        self._use_board(mapped.board)
        mapped.board.rows.belong_to(mapped.board_in_use, self.current)

    def _use_board(self, board: Board) -> None:
        """`hosts` are the words of other hosts on the board in use."""
        self._board = board
        self.hosts = board.host_words(self._boottime)

    def _detach(self) -> None:
        """Drop the tables. They close when the last read in them has ended."""
        self.page = self._environment = None
        self.results = NO_RESULTS
        cache, self.cache = self.cache, NO_CACHE
        cache.drop()

    # Quiescing

    def quiesce(self) -> None:
        """Wait for the running reads to end, and close the tables; no read of another thread begins until `resume`,
        which must follow also where this was interrupted."""
        self._lock.acquire()
        me = threading.get_ident()
        self._active.discard(me)
        self._quiescer = me
        while self._active:
            if not self._idle.wait(LOST_SECONDS):
                self._active &= _threads_in(CurrentTables._read_once)
        try:
            if self._environment is not None:
                self._environment.close()
        finally:
            self._detach()

    def close(self) -> None:
        """Close the tables for good. A thread that reads ends its read first; one that comes later gets an error."""
        try:
            self.quiesce()
            self._closed = True
            self._use_board(NO_BOARD)
        finally:
            self.resume()

    def _close_for_now(self) -> None:
        try:
            self.quiesce()
        finally:
            self.resume()

    def resume(self) -> None:
        """The next read opens the tables again."""
        if self._quiescer == threading.get_ident():
            self._quiescer = 0
        try:
            self._lock.release()
        except RuntimeError as error:
            # `quiesce` was interrupted before it held the lock.
            reraise_foreign(error)


def _threads_in(function: Callable[..., object]) -> set[int]:
    """The threads that are running `function` now, except one whose call an interrupt ended in its last steps."""
    active = set()
    for thread, frame in sys._current_frames().items():
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code is function.__code__:
                active.add(thread)
            caller = caller.f_back
    return active
