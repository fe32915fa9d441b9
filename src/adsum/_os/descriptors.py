"""Descriptors that another part of the program may have closed.

A program that becomes a daemon closes every descriptor it finds, those of its libraries included, and the kernel gives
their numbers to the files that it opens next. So before a number is written to or closed after a while, `Descriptor`
checks that it still refers to the same file: one fstat(2). That needs a file with an inode of its own. Sockets, pipes
and files have one; eventfds and epolls share a single inode, so a `Wakeup` is a pipe, and an epoll is recognised by the
`Wakeup` that is registered in it.
"""

import contextlib
import errno
import fcntl
import os
import posix
import sys
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from .._foreign import reraise_foreign
from ..errors import SystemBusy
from . import polling

# So many numbers are tried before all descriptors are listed.
_NEAR = 8
# Objects that would close a number of another file when they are collected.
_lost: list[object] = []


class Descriptor(NamedTuple):
    """A number, and the file that it referred to when it was noted."""

    number: int
    # Its device and inode.
    file: tuple[int, int]

    def is_ours(self) -> bool:
        """Whether the number still refers to that file."""
        try:
            found = os.fstat(self.number)
        except OSError as error:
            reraise_foreign(error)
            return False
        return (found.st_dev, found.st_ino) == self.file

    def close(self) -> None:
        """Close it, unless the number refers to another file or to none by now."""
        if self.is_ours():
            os.close(self.number)


def note(number: int) -> Descriptor:
    """The descriptor that has this number now."""
    found = os.fstat(number)
    return Descriptor(number, (found.st_dev, found.st_ino))


def free_number() -> int:
    """The lowest number that is free now."""
    descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return descriptor


def found_on(files: Collection[tuple[int, int]], first: int) -> list[Descriptor]:
    """The descriptors that a library has just opened, one on each of `files`, given as device and inode. `first` was
    free before."""
    found: list[Descriptor] = []
    for noted in _noted_from(first):
        if noted.file in files and noted not in found:
            found.append(noted)
            if len({noted.file for noted in found}) == len(files):
                break
    return found


def copy_of(opened: Descriptor, offset: int, first: int) -> Descriptor | None:
    """The copy of a descriptor that a library has just made, where no other one has this offset in the same file; None
    where there is none. `first` was free before."""
    for noted in _noted_from(first):
        if noted.file == opened.file and noted.number != opened.number and _offset_of(noted.number) == offset:
            return noted
    return None


def _offset_of(number: int) -> int | None:
    try:
        return os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        # Another thread has closed it, or it cannot be sought in.
        reraise_foreign(error)
        return None


def _noted_from(first: int) -> Iterator[Descriptor]:
    """The open descriptors, in the order in which one is likely that was opened a moment ago, when `first` was free."""
    # The kernel gives the lowest free numbers (open(2)): often the next ones, or the highest of all. Other threads may
    # have taken or freed some in between.
    for number in chain(range(first, first + _NEAR), _listed()):
        try:
            yield note(number)
        except OSError as error:
            reraise_foreign(error)


def _listed() -> Iterator[int]:
    """All of them, the highest first; a generator, because they are seldom asked for."""
    yield from sorted(map(int, os.listdir("/proc/self/fd")), reverse=True)


@contextlib.contextmanager
def numbers_kept(ours: Iterable[Descriptor]) -> Iterator[None]:
    """Around a call that closes the numbers of `ours`, whatever they refer to: a file that has taken one of them in the
    meantime keeps it."""
    others: list[tuple[int, int]] = []
    by_number = {noted.number: noted for noted in ours}
    for number, noted in by_number.items():
        if not noted.is_ours():
            try:
                others.append((number, _copy_elsewhere(number, by_number)))
            except OSError as error:
                # The number may also be free.
                reraise_foreign(error)
    inheritable = [os.get_inheritable(number) for number, _ in others]
    try:
        yield
    finally:
        for (number, copy), was_inheritable in zip(others, inheritable, strict=True):
            os.dup2(copy, number, was_inheritable)
            os.close(copy)


def _copy_elsewhere(number: int, but_not: Container[int]) -> int:
    """A copy of a descriptor, on none of these numbers."""
    passed_over = []
    try:
        while (copy := fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)) in but_not:
            passed_over.append(copy)
        return copy
    finally:
        for one in passed_over:
            os.close(one)


def never_close(thing: object) -> None:
    """Keep an object whose number another file has by now, because its end would close that file."""
    _lost.append(thing)


class Wakeup:
    """A descriptor that is readable from `ring` to `clear`. Both are safe where it was closed or its number reused.
    Errors of `ring`: `SystemBusy`.

    It reads and writes with the functions of `posix`: eventlet replaces those of `os` by others, which wait where the
    kernel says EAGAIN.
    """

    def __init__(self) -> None:
        reader_end, writer_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Open for both, so one number is enough (fifo(7), Linux).
            number = os.open(f"/proc/self/fd/{reader_end}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        finally:
            os.close(reader_end)
            os.close(writer_end)
        self.descriptor = note(number)

    def fileno(self) -> int:
        return self.descriptor.number

    def is_ours(self) -> bool:
        return self.descriptor.is_ours()

    def ring(self) -> None:
        if self.descriptor.is_ours():
            try:
                posix.write(self.descriptor.number, b"\0")
            except BlockingIOError as error:
                reraise_foreign(error)
                # The pipe is full, so it is readable.
                return
            except OSError as error:
                reraise_foreign(error)
                raise SystemBusy(f"the kernel has no memory to wake a thread ({error}); try again") from error

    def clear(self) -> None:
        if self.descriptor.is_ours():
            try:
                posix.read(self.descriptor.number, 65536)
            except OSError as error:
                # Another thread has cleared it; after any other error it stays readable, and is cleared later.
                reraise_foreign(error)

    def wakes(self, epoll: polling.epoll, events: int = polling.EPOLLIN) -> bool:
        """Whether it is registered in `epoll` for `events`, so that both are still what this process opened."""
        try:
            if not self.descriptor.is_ours():
                return False
            # Changes nothing where it is registered, and fails where it is not: ENOENT, or EINVAL for no epoll.
            epoll.modify(self.descriptor.number, events)
        except (FileNotFoundError, ValueError) as error:
            reraise_foreign(error)
            return False
        except OSError as error:
            reraise_foreign(error)
            if error.errno not in (errno.EBADF, errno.EINVAL, errno.EPERM):
                raise
            return False
        return True

    def close(self) -> None:
        """Close it. Closing twice does nothing; so does the end of an object that was closed."""
        self.descriptor.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Not noted where `__init__` was interrupted. At the end of the interpreter the modules are gone already.
        if not is_finalizing() and hasattr(self, "descriptor"):
            self.close()


def close_epoll(epoll: polling.epoll, wakeup: Wakeup, events: int = polling.EPOLLIN) -> None:
    """Close an epoll and the wakeup that is registered in it, those of them that are still ours."""
    if epoll.closed or wakeup.wakes(epoll, events):
        epoll.close()
    else:
        never_close(epoll)
    wakeup.close()
