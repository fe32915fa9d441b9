"""Lifelines: how a reader sees in shared memory that a process lives.

A process that registers itself holds a robust mutex on the board: its lifeline. The lifeline is intact while the thread
that holds the mutex lives; the kernel breaks it when that thread ends (see `_os.robust_mutex`). So a reader knows from
memory that the process of an intact lifeline lives. A broken one is no proof, because a process may go on after its
thread, or its exec: then the reader asks the kernel, as it does for a process without a lifeline.

A lifeline is eight words: the mutex, then the *stamp* of the process that took it, with its identity. A process takes
the first one that no living thread holds, beginning at an index that its pid decides, so readers find it there.

A reader that has found the mutex held by a thread, and after that the stamp of process X with the number of that
thread, knows that X lived during the read:

- Only the thread that holds the mutex writes the stamp. It writes the stamp last, with its own number in it.
- No thread takes a lifeline whose stamp has its own number. So a thread that holds the mutex, and has not written its
  stamp yet, has another number than the stamp.
- So at the moment when the reader saw the mutex it was held by X, or by a thread that ended before X took it and wrote
  the stamp that the reader saw afterwards.

A stamp has 32 random bits, so no later process has the same.
"""

import os
import threading
from pathlib import Path
from typing import NamedTuple

from .._foreign import reraise_foreign
from .._os import identity, robust_mutex
from .._os.forking import call_around_fork
from .._os.locks import holding
from .._os.robust_mutex import MappedWords
from ..model import Owner
from .page_layout import BOARD_SIZE, LIFELINE_WORDS, LIFELINES, LIFELINES_AT, WORD_BYTES

# Words of a lifeline, after its mutex.
STAMP, _PROCESS, _INODE = 5, 6, 7
# So many lifelines are tried.
_TRIES = 64
_LOW_HALF = 0xFFFF_FFFF
_START_TIME_BITS = 42
_START_TIME = (1 << _START_TIME_BITS) - 1


class Lifeline(NamedTuple):
    """That of one process: the indexes of two words among the lifelines, and the values that they have while it is
    intact."""

    mutex_at: int
    mutex: int
    stamp_at: int
    stamp: int


# For an owner without one: no word has the value -1.
NONE = Lifeline(0, -1, 0, -1)
# For an owner that had one, whose thread has ended.
BROKEN = Lifeline(0, -2, 0, -2)


def find(words: memoryview, owner: Owner) -> Lifeline:
    """The intact lifeline of `owner`, which is alive then; `BROKEN` where it has broken, `NONE` where there is none.
    `words` are all lifelines of a board."""
    found = NONE
    pid, start_time, pidfd_inode = owner
    process = _process_word(pid, start_time)
    for number in range(pid, pid + _TRIES):
        at = number % LIFELINES * LIFELINE_WORDS
        # First, see above.
        mutex, stamp = words[at], words[at + STAMP]
        if not stamp:
            break
        if words[at + _PROCESS] == process and words[at + _INODE] == pidfd_inode:
            thread = mutex & _LOW_HALF
            # The kernel clears the number when it breaks the lifeline.
            if thread and thread == stamp & _LOW_HALF and stamp == words[at + STAMP]:
                return Lifeline(at, mutex, at + STAMP, stamp)
            found = BROKEN
    return found


def is_intact(words: memoryview, owner: Owner) -> bool:
    """Whether `owner` has a lifeline that is intact: it is alive, and not ending."""
    return find(words, owner) not in (NONE, BROKEN)


def _process_word(pid: int, start_time: int) -> int:
    return pid << _START_TIME_BITS | start_time & _START_TIME


# The side of the process that holds one


class _HeldLifeline(NamedTuple):
    path: Path
    # Device and inode of the board.
    file: tuple[int, int]
    mapped: MappedWords
    lifeline: Lifeline
    thread: threading.Thread
    thread_number: int

    @property
    def address(self) -> int:
        return self.mapped.address + WORD_BYTES * (LIFELINES_AT + self.lifeline.mutex_at)

    def is_by_this_thread(self) -> bool:
        # A greenlet may look like a thread of its own; the kernel knows better.
        return self.thread_number == threading.get_native_id()

    def may_be_intact(self) -> bool:
        """Not by way of the memory, which ends a process that touches it where the file was truncated."""
        return self.is_by_this_thread() or self.thread.is_alive()

    def is_gone(self) -> bool:
        """Whether the board is in its folder no more."""
        try:
            return _number_of(os.stat(self.path)) != self.file
        except OSError as error:
            reraise_foreign(error)
            return isinstance(error, (FileNotFoundError, NotADirectoryError))


_lock = threading.RLock()
# The lifelines that this process holds, by the number of the board.
_held: dict[int, _HeldLifeline] = {}


def hold(path: Path, board: int) -> None:
    """Hold a lifeline on the board at `path`, the one with this number, from now on, unless this process does. Where
    that is not possible, readers ask the kernel."""
    if not is_held(board):
        holding(_lock, _hold, path, board)


def is_held(board: int) -> bool:
    """Whether this process holds one on that board."""
    held = _held.get(board)
    return held is not None and held.may_be_intact()


def _hold(path: Path, board: int) -> None:
    mutexes = robust_mutex.available()
    # Another thread may have been quicker.
    if mutexes is None or is_held(board):
        return
    _release_gone(mutexes)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        reraise_foreign(error)
        return
    try:
        _hold_on(mutexes, path, descriptor, board)
    except OSError as error:
        reraise_foreign(error)
    finally:
        os.close(descriptor)


def _hold_on(mutexes: robust_mutex.RobustMutexes, path: Path, descriptor: int, board: int) -> None:
    file, held = os.fstat(descriptor), _held.get(board)
    if file.st_size != BOARD_SIZE:
        return
    mapped = mutexes.map(descriptor, BOARD_SIZE) if held is None else held.mapped
    lifeline = _take(mutexes, mapped) if mapped.words[0] == board else None
    if lifeline is not None:
        thread = threading.current_thread(), threading.get_native_id()
        _held[board] = _HeldLifeline(path, _number_of(file), mapped, lifeline, *thread)
    elif held is None:
        mutexes.unmap(mapped)


def _number_of(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _take(mutexes: robust_mutex.RobustMutexes, mapped: MappedWords) -> Lifeline | None:
    owner, thread, words = identity.current(), threading.get_native_id(), mapped.words[LIFELINES_AT:]
    for number in range(_TRIES):
        at = (owner.pid + number) % LIFELINES * LIFELINE_WORDS
        address = mapped.address + WORD_BYTES * (LIFELINES_AT + at)
        if words[at + STAMP] & _LOW_HALF == thread or not mutexes.try_to_hold(address):
            continue
        words[at + _PROCESS], words[at + _INODE] = _process_word(owner.pid, owner.start_time), owner.pidfd_inode
        words[at + STAMP] = stamp = int.from_bytes(os.urandom(4), "little") << 32 | thread
        return Lifeline(at, words[at], at + STAMP, stamp)
    return None


def _release_gone(mutexes: robust_mutex.RobustMutexes) -> None:
    """Unmap the boards that are in no folder any more, as far as no living thread holds a mutex on them."""
    for board, held in list(_held.items()):
        if not held.is_gone():
            continue
        if not mutexes.is_readable(held.address):
            # Truncated before it was removed.
            del _held[board]
            mutexes.abandon(held.mapped)
            continue
        if held.is_by_this_thread():
            mutexes.let_go(held.address)
        elif held.thread.is_alive():
            continue
        del _held[board]
        mutexes.unmap(held.mapped)


def _forget() -> None:
    """In a forked child: the mutexes are those of a thread of its parent."""
    global _lock
    _lock = threading.RLock()
    inherited = list(_held.values())
    _held.clear()
    if inherited and (mutexes := robust_mutex.available()) is not None:
        for held in inherited:
            mutexes.unmap(held.mapped)


call_around_fork(after_in_child=_forget)
