"""Files in memory, as 64-bit words.

Until Python 3.13 the module `mmap` keeps a copy of the descriptor of each file that it maps. A program may close that
copy, which is none of its own, and the kernel may give its number to another file. So each mapping knows its copy, and
does not close a number that is another file's by now. A copy shares its file offset with the descriptor that it was
made of, and with no other (dup(2)): that is how it is found.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .._foreign import reraise_foreign
from ..errors import SystemBusy
from .descriptors import Descriptor, copy_of, free_number, never_close, note

_WORD_BYTES = 8


class MappedFile:
    """A mapped file: its words, and what the kernel said of it when it was opened. `copy` is the copy of its descriptor
    that Python keeps, None where it was closed before it was found."""

    # For one whose `__init__` was interrupted.
    _guards = False

    def __init__(self, mapping: mmap.mmap, file: os.stat_result, copy: Descriptor | None = None) -> None:
        self._mapping = mapping
        self._copy = copy
        self._guards = sys.version_info < (3, 13)
        self.file = file
        self.words = memoryview(mapping).cast("Q")

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing() and self._guards and (self._copy is None or not self._copy.is_ours()):
            never_close(self._mapping)


# One for each mapping, and behind every file that is mapped here: no other descriptor has it.
_offsets = itertools.count(1 << 31)
# How often a file is opened whose descriptor is closed, or which is made shorter, before it is mapped.
_TRIES = 10


def open_mapped(path: Path, size_of: Callable[[os.stat_result], int], *, writable: bool = False) -> MappedFile | None:
    """Map a file, as many bytes as `size_of` says, which may raise an error. None where there is no such file, or where
    `size_of` gives 0. Errors: `SystemBusy` where the program closes all descriptors, or the file is made shorter, again
    and again."""
    flags, access = (os.O_RDWR, mmap.ACCESS_WRITE) if writable else (os.O_RDONLY, mmap.ACCESS_READ)
    for _ in range(_TRIES):
        try:
            number = os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError as error:
            reraise_foreign(error)
            return None
        try:
            file = os.fstat(number)
            size = size_of(file) // _WORD_BYTES * _WORD_BYTES
            opened = Descriptor(number, (file.st_dev, file.st_ino))
            mapped = _map(opened, file, size, access) if size else None
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.close(number)
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                continue
            raise
        if mapped is not None or not size:
            os.close(number)
            return mapped
        opened.close()
    raise _closed(path)


def create_mapped(path: Path, size: int, *, allocated: int | None = None) -> MappedFile:
    """Make and map a file that only this user can open, in a registrar. It is allocated, not just sized: touching a
    mapped page that a full file system cannot provide is SIGBUS. Where only the first `allocated` bytes are, the caller
    sees to the others."""
    opened = note(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        os.posix_fallocate(opened.number, 0, size if allocated is None else allocated)
        os.ftruncate(opened.number, size)
        mapped = _map(opened, os.fstat(opened.number), size, mmap.ACCESS_WRITE)
        if mapped is None:
            raise _closed(path)
        return mapped
    finally:
        opened.close()


def _map(opened: Descriptor, file: os.stat_result, size: int, access: int) -> MappedFile | None:
    """None where the number may have been another file's when it was mapped, or where the file is shorter by now."""
    number = opened.number
    try:
        if sys.version_info >= (3, 13):
            mapped = MappedFile(mmap.mmap(number, size, access=access, trackfd=False), file)
        else:
            # The copy is made at the lowest free number (fcntl(2), F_DUPFD).
            first, offset = free_number(), next(_offsets)
            if not opened.is_ours():
                return None
            os.lseek(number, offset, os.SEEK_SET)
            mapping = mmap.mmap(number, size, access=access)
            mapped = MappedFile(mapping, file, copy_of(opened, offset, first))
    except (OSError, ValueError) as error:
        reraise_foreign(error)
        if opened.is_ours() and os.fstat(number).st_size >= size:
            raise
        return None
    return mapped if opened.is_ours() else None


def _closed(path: Path) -> SystemBusy:
    return SystemBusy(
        f"{path} was made shorter, or this program closed its descriptor, before it was mapped; try again"
    )
