"""Robust mutexes in shared memory: words that the kernel changes when the thread that holds them ends.

A robust mutex (pthread_mutexattr_setrobust(3), PTHREAD_PROCESS_SHARED) is a word with the number of the thread that
holds it. At the end of that thread, also by SIGKILL, and at an exec, the kernel sets `OWNER_DIED` in the word
(Linux: Documentation/locking/robust-futexes.rst). It does so before the pidfd of the process becomes readable. A child
that was forked does not hold the mutexes of its parent.

Nothing waits for such a mutex here. It is held for as long as the thread lives, and its word is read as memory.
"""

import functools
import mmap
import os
import sys
from typing import Any, NamedTuple

from .._foreign import reraise_foreign

# The bit of the word from linux/futex.h; while the thread lives, the word is its number.
OWNER_DIED = 0x4000_0000
# What a mutex takes at most; it begins with the word (`pthread_mutex_t` of glibc on 64-bit machines).
_MUTEX_BYTES = 40

_PTHREAD_PROCESS_SHARED = 1
_PTHREAD_MUTEX_ROBUST = 1
_EOWNERDEAD = 130
_MAP_FAILED = 2**64 - 1
# From linux/mman.h; the module `mmap` does not have it.
_MAP_FIXED = 0x10


class MappedWords(NamedTuple):
    """A file in memory, as 64-bit words."""

    address: int
    words: memoryview


class RobustMutexes:
    """The calls of the C library, for mutexes at addresses of mapped memory."""

    def __init__(self) -> None:
        # It costs milliseconds, and a process that only reads does not need it.
        import ctypes

        self._ctypes = ctypes
        library = ctypes.CDLL(None, use_errno=True)
        address, length, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        library.mmap.restype = address
        library.mmap.argtypes = [address, length, number, number, number, ctypes.c_long]
        library.munmap.argtypes = [address, length]
        for function in ("trylock", "unlock", "consistent"):
            getattr(library, f"pthread_mutex_{function}").argtypes = [address]
        self._library: Any = library
        self._new = self._new_mutex()

    def _new_mutex(self) -> bytes:
        """The bytes of a new mutex. Most of them are zero."""
        new, attributes = (self._ctypes.create_string_buffer(64) for _ in range(2))
        library = self._library
        failed = (
            library.pthread_mutexattr_init(attributes)
            or library.pthread_mutexattr_setpshared(attributes, _PTHREAD_PROCESS_SHARED)
            or library.pthread_mutexattr_setrobust(attributes, _PTHREAD_MUTEX_ROBUST)
            or library.pthread_mutex_init(new, attributes)
        )
        if failed:
            raise OSError(failed, os.strerror(failed))
        return new.raw

    def break_at_death(self) -> bool:
        """Whether the kernel sets `OWNER_DIED` at the end of a thread, where this module expects it. An emulated one,
        or another C library, may not. Errors: `OSError` where no thread can be started now."""
        mutex, thread = self._ctypes.create_string_buffer(self._new, 64), self._ctypes.c_void_p()
        # The thread runs the C function alone: no interpreter, and nothing that a program has put in place of it.
        library = self._library
        failed = library.pthread_create(self._ctypes.byref(thread), None, library.pthread_mutex_trylock, mutex)
        if failed:
            raise OSError(failed, os.strerror(failed))
        library.pthread_join(thread, None)
        word = int.from_bytes(mutex.raw[:4], sys.byteorder)
        return word == OWNER_DIED and not any(self._new[:8]) and not any(self._new[_MUTEX_BYTES:])

    def map(self, descriptor: int, size: int) -> MappedWords:
        """Map a file, to write to it. It stays mapped until `unmap`, because at the end of each thread the kernel
        follows a list through the mutexes that it holds. Errors: `OSError`."""
        address = self._library.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, _MAP_FAILED):
            failed = self._ctypes.get_errno()
            raise OSError(failed, os.strerror(failed))
        return MappedWords(address, memoryview((self._ctypes.c_char * size).from_address(address)).cast("B").cast("Q"))

    def is_readable(self, address: int) -> bool:
        """Whether a mapped word can be read. Memory behind the end of its file, which was truncated, ends a process
        that touches it (SIGBUS); through a file of the kernel the same is an error (proc_pid_mem(5))."""
        try:
            memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            reraise_foreign(error)
            return False
        try:
            return len(os.pread(memory, 8, address)) == 8
        except OSError as error:
            reraise_foreign(error)
            return False
        finally:
            os.close(memory)

    def abandon(self, mapped: MappedWords) -> None:
        """Put memory without a file in the place of a truncated one. The C library and the kernel may follow the list
        of this thread's mutexes through it."""
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        self._library.mmap(mapped.address, mapped.words.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, kind, -1, 0)

    def unmap(self, mapped: MappedWords) -> None:
        """Only where no living thread holds a mutex in it, and nothing reads the words."""
        self._library.munmap(mapped.address, mapped.words.nbytes)

    def try_to_hold(self, address: int) -> bool:
        """Hold the mutex at an address, where there may never have been one, until this thread ends. False where
        another thread holds it."""
        for offset, byte in enumerate(self._new):
            if byte:
                # Every process writes the same, so it does no harm to a mutex that is in use.
                self._ctypes.memset(address + offset, byte, 1)
        failed = self._library.pthread_mutex_trylock(address)
        if failed == _EOWNERDEAD:
            failed = self._library.pthread_mutex_consistent(address)
        return not failed

    def let_go(self, address: int) -> None:
        """Hold it no longer. Only in the thread that holds it."""
        self._library.pthread_mutex_unlock(address)


@functools.cache
def _loaded() -> RobustMutexes | None:
    try:
        # The word is the lower half of a 64-bit word.
        return RobustMutexes() if sys.byteorder == "little" else None
    except (ImportError, OSError, AttributeError) as error:
        reraise_foreign(error)
        return None


@functools.cache
def _works() -> bool:
    mutexes = _loaded()
    return mutexes is not None and mutexes.break_at_death()


def available() -> RobustMutexes | None:
    """The robust mutexes of this system; None where there are none, or where that cannot be found out now."""
    try:
        return _loaded() if _works() else None
    except OSError as error:
        reraise_foreign(error)
        return None
