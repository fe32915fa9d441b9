"""Lifelines: how a reader sees in shared memory that a process lives.

A process that registers itself holds a robust mutex in the page: its lifeline. The lifeline is intact while the thread
that holds the mutex lives; the kernel breaks it when that thread ends (see `_os.robust_mutex`). So a reader knows from
memory that the process of an intact lifeline lives. A broken one is no proof, because a process may go on after its
thread, or its exec: then the reader asks the kernel, as it does for a process without a lifeline.

A lifeline is eight words: the mutex, then the *stamp* of the process that took it, with its identity. A process takes
the first one that no living thread holds, beginning at a place that its pid decides, so readers find it there.

A reader that has found the mutex held by a thread, and after that the stamp of process X with the number of that
thread, knows that X lived during the read:

- Only the thread that holds the mutex writes the stamp. It writes the stamp last, with its own number in it.
- No thread takes a lifeline whose stamp has its own number. So a thread that holds the mutex, and has not written its
  stamp yet, has another number than the stamp.
- So at the moment when the reader saw the mutex it was held by X, or by a thread that ended before X took it and wrote
  the stamp that the reader saw afterwards.

A stamp has 32 random bits, so no later process has the same.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from .._foreign import reraise_foreign
from .._os import identity, robust_mutex
from .._os.forking import call_around_fork
from .._os.locks import holding
from .._os.robust_mutex import Mapped
from ..model import Owner
from .page_layout import LIFELINE_WORDS, LIFELINES, LIFELINES_AT, SIZE, WORD_BYTES

# Words of a lifeline, after its mutex.
STAMP, _PROCESS, _INODE = 5, 6, 7
# So many places are tried.
_TRIES = 64
_LOW_HALF = 0xFFFF_FFFF
_START_TIME_BITS = 42


class Lifeline(NamedTuple):
    """That of one process: the indexes of two words among the lifelines, and the values that they have while it is
    intact."""

    mutex_at: int
    mutex: int
    stamp_at: int
    stamp: int


# For an owner without one: no word has the value -1.
NONE = Lifeline(0, -1, 0, -1)


def find(words: memoryview, owner: Owner) -> Lifeline:
    """The intact lifeline of `owner`, which is alive then; `NONE` where it has none. `words` are all lifelines of a
    page."""
    process = _process_word(owner)
    for number in range(_TRIES):
        at = (owner.pid + number) % LIFELINES * LIFELINE_WORDS
        # First, see above.
        mutex, stamp = words[at], words[at + STAMP]
        if not stamp:
            break
        if words[at + _PROCESS] == process and words[at + _INODE] == owner.pidfd_inode:
            thread = mutex & _LOW_HALF
            # The kernel clears the number when it breaks the lifeline.
            if thread and thread == stamp & _LOW_HALF and stamp == words[at + STAMP]:
                return Lifeline(at, mutex, at + STAMP, stamp)
    return NONE


def _process_word(owner: Owner) -> int:
    return owner.pid << _START_TIME_BITS | owner.start_time & (1 << _START_TIME_BITS) - 1


# The side of the process that holds one


class _Held(NamedTuple):
    path: Path
    mapped: Mapped
    # All lifelines of that page.
    words: memoryview
    lifeline: Lifeline
    thread: int

    def is_intact(self) -> bool:
        line = self.lifeline
        return self.words[line.mutex_at] == line.mutex and self.words[line.stamp_at] == line.stamp


_lock = threading.RLock()
# Those of this process, by device and inode of the page.
_held: dict[tuple[int, int], _Held] = {}


def hold(path: Path, file: os.stat_result) -> None:
    """Hold a lifeline in the page at `path` from now on, unless this process does. Where that is not possible, readers
    ask the kernel."""
    held = _held.get((file.st_dev, file.st_ino))
    if held is None or not held.is_intact():
        holding(_lock, _hold, path, file)


def _hold(path: Path, file: os.stat_result) -> None:
    mutexes, key = robust_mutex.available(), (file.st_dev, file.st_ino)
    if mutexes is None:
        return
    _release_gone(mutexes)
    try:
        mapped = _held[key].mapped if key in _held else _map(mutexes, path, file)
    except OSError as error:
        reraise_foreign(error)
        return
    if mapped is not None:
        words = mapped.words[LIFELINES_AT:]
        lifeline = _take(mutexes, mapped.address + WORD_BYTES * LIFELINES_AT, words)
        if lifeline is not None:
            _held[key] = _Held(path, mapped, words, lifeline, threading.get_native_id())


def _map(mutexes: robust_mutex.RobustMutexes, path: Path, file: os.stat_result) -> Mapped | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mutexes.map(descriptor, SIZE) if os.path.samestat(os.fstat(descriptor), file) else None
    finally:
        os.close(descriptor)


def _take(mutexes: robust_mutex.RobustMutexes, address: int, words: memoryview) -> Lifeline | None:
    owner, thread = identity.current(), threading.get_native_id()
    for number in range(_TRIES):
        at = (owner.pid + number) % LIFELINES * LIFELINE_WORDS
        if words[at + STAMP] & _LOW_HALF == thread or not mutexes.try_to_hold(address + WORD_BYTES * at):
            continue
        words[at + _PROCESS], words[at + _INODE] = _process_word(owner), owner.pidfd_inode
        words[at + STAMP] = stamp = int.from_bytes(os.urandom(4), "little") << 32 | thread
        return Lifeline(at, words[at], at + STAMP, stamp)
    return None


def _release_gone(mutexes: robust_mutex.RobustMutexes) -> None:
    """Unmap the pages that are in no folder any more, as far as no living thread holds a mutex in them."""
    for key, held in list(_held.items()):
        if _is_at(held.path, key):
            continue
        address = held.mapped.address + WORD_BYTES * (LIFELINES_AT + held.lifeline.mutex_at)
        if not mutexes.is_readable(address):
            # Truncated before it was removed.
            del _held[key]
            mutexes.abandon(held.mapped)
            continue
        if held.is_intact():
            if held.thread != threading.get_native_id():
                continue
            mutexes.let_go(address)
        del _held[key]
        mutexes.unmap(held.mapped)


def _is_at(path: Path, key: tuple[int, int]) -> bool:
    try:
        file = os.stat(path)
    except OSError as error:
        reraise_foreign(error)
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return (file.st_dev, file.st_ino) == key


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
