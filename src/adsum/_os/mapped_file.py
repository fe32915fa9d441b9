"""Files in memory, as 64-bit words.

Until Python 3.13 the module `mmap` keeps a copy of the descriptor of each file that it maps. A program may close that
copy, which is none of its own, and the kernel may give its number to another file. So each mapping knows its copy, and
does not close a number that is another file's by now. A copy shares its file offset with the descriptor that it was
made of, and with no other (dup(2)): that is how it is found.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .._foreign import reraise_foreign
from .descriptors import Descriptor, copy_of, free_number, never_close

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


# One for each mapping, and behind every file that is mapped here: no other descriptor has it.
_offsets = itertools.count(1 << 31)


def open_mapped(path: Path, size_of: Callable[[os.stat_result], int], *, writable: bool = False) -> MappedFile | None:
    """Map a file, as many bytes as `size_of` says, which may raise an error. None where there is no such file, or where
    `size_of` gives 0."""
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


def create_mapped(path: Path, size: int, *, allocated: int | None = None) -> MappedFile:
    """Make and map a file that only this user can open. It is allocated, not just sized: touching a mapped page that a
    full file system cannot provide is SIGBUS. Where only the first `allocated` bytes are, the caller sees to the
    others."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size if allocated is None else allocated)
        os.ftruncate(descriptor, size)
        return _map(descriptor, size, mmap.ACCESS_WRITE)
    finally:
        os.close(descriptor)


def _map(descriptor: int, size: int, access: int) -> MappedFile:
    file = os.fstat(descriptor)
    if sys.version_info >= (3, 13):
        return MappedFile(mmap.mmap(descriptor, size, access=access, trackfd=False), file)
    os.lseek(descriptor, next(_offsets), os.SEEK_SET)
    # The copy is made at the lowest free number (fcntl(2), F_DUPFD).
    number = free_number()
    return MappedFile(mmap.mmap(descriptor, size, access=access), file, copy_of(descriptor, number))
