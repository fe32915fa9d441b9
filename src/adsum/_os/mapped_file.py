"""Files in memory, as 64-bit words.

Until Python 3.13 the module `mmap` keeps a copy of the descriptor of each file that it maps. A program may close that
copy, which is none of its own, and the kernel may give its number to another file. So each mapping knows its copy, and
does not close a number that is another file's by now.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from .._foreign import reraise_foreign
from .descriptors import Descriptor, found_on, free_number, never_close
from .forking import call_around_fork
from .locks import holding

_WORD_BYTES = 8


class MappedFile:
    """A mapped file: its words, and what the kernel said of it when it was opened."""

    # For one whose `__init__` was interrupted.
    _copy: Descriptor | None = None

    def __init__(self, mapping: mmap.mmap, file: os.stat_result, copy: Descriptor | None = None) -> None:
        self._mapping = mapping
        self._copy = copy
        self.file = file
        self.words = memoryview(mapping).cast("Q")

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing() and self._copy is not None and not self._copy.is_ours():
            never_close(self._mapping)


# One thread at a time: `_map` looks for a descriptor of the same file, and must not find that of another thread or
# mapping.
_opening = threading.RLock()
_with_copies: weakref.WeakSet[MappedFile] = weakref.WeakSet()


def _replace_lock() -> None:
    global _opening
    _opening = threading.RLock()


call_around_fork(after_in_child=_replace_lock)


def open_mapped(path: Path, size_of: Callable[[os.stat_result], int], *, writable: bool = False) -> MappedFile | None:
    """Map a file, as many bytes as `size_of` says, which may raise an error. None where there is no such file, or where
    `size_of` gives 0."""
    return holding(_opening, _open, path, size_of, writable)


def create_mapped(path: Path, size: int, *, allocated: int | None = None) -> MappedFile:
    """Make and map a file that only this user can open. It is allocated, not just sized: touching a mapped page that a
    full file system cannot provide is SIGBUS. Where only the first `allocated` bytes are, the caller sees to the
    others."""
    return holding(_opening, _create, path, size, size if allocated is None else allocated)


def _open(path: Path, size_of: Callable[[os.stat_result], int], writable: bool) -> MappedFile | None:
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError as error:
        reraise_foreign(error)
        return None
    try:
        size = size_of(os.fstat(descriptor)) // _WORD_BYTES * _WORD_BYTES
        return _map(descriptor, size, mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ) if size else None
    finally:
        os.close(descriptor)


def _create(path: Path, size: int, allocated: int) -> MappedFile:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, allocated)
        os.ftruncate(descriptor, size)
        return _map(descriptor, size, mmap.ACCESS_WRITE)
    finally:
        os.close(descriptor)


def _map(descriptor: int, size: int, access: int) -> MappedFile:
    file = os.fstat(descriptor)
    if sys.version_info >= (3, 13):
        return MappedFile(mmap.mmap(descriptor, size, access=access, trackfd=False), file)
    # The copy is made at the lowest free number (fcntl(2), F_DUPFD).
    number = free_number()
    mapping = mmap.mmap(descriptor, size, access=access)
    known = [other._copy.number for other in list(_with_copies) if other._copy is not None]
    copies = found_on([(file.st_dev, file.st_ino)], number, but_not=[descriptor, *known])
    mapped = MappedFile(mapping, file, copies[0] if copies else None)
    _with_copies.add(mapped)
    return mapped
