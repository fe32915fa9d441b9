"""Room for the tables: space that the file system has given before it is needed.

LMDB is copy-on-write: a commit writes new pages before it frees old ones, and one that only deletes does so too. In a
file system that is full such a commit fails, so a full registry would stay full. `Room` keeps data.mdb allocated beyond
the last page that the tables have used (posix_fallocate(3); on tmpfs, shmem_fallocate in mm/shmem.c takes the memory at
that moment, and a later write into it cannot fail because no space is left). So the file system is found full here, as
a `False`, while a reserve is left for every commit that frees room.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..model import Limits

# What is allocated at once, so that few commits make the system call.
_STEP_BYTES = 256 * 1024
# The reserve: enough for the largest single request, and for a part of all index pages, which the death of an owner
# with very many entries rewrites before it frees them.
_RESERVE_BYTES = 512 * 1024
_RESERVE_SHARE = 1 / 8
# Entries, the copies that commits make, history and departures share a file system with this user's other files.
_FILE_SYSTEM_SHARE = 4
_LEAST_MEMORY_BYTES = 1024 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG)


def fitted_to(folder: Path, limits: Limits) -> Limits:
    """The limits, with a memory limit that the file system of `folder` can hold: at most a quarter of its size."""
    found = os.statvfs(folder)
    # A tmpfs without a limit has size 0.
    size = found.f_blocks * found.f_frsize
    most = max(_LEAST_MEMORY_BYTES, size // _FILE_SYSTEM_SHARE) if size else limits.max_memory_bytes
    if limits.max_memory_bytes <= most:
        return limits
    # Not msgspec.structs.replace, which does not check the new value.
    return Limits(**{name: getattr(limits, name) for name in limits.__struct_fields__} | {"max_memory_bytes": most})


def reserve_for(file_bytes: int) -> int:
    """The bytes to keep allocated beyond tables that have used `file_bytes`."""
    return _RESERVE_BYTES + int(file_bytes * _RESERVE_SHARE)


class Room:
    """The allocated part of one data.mdb. Only the registrar, which writes it, has one."""

    # Where `__init__` could not open the file.
    _descriptor = -1

    def __init__(self, data_file: Path, map_size: int) -> None:
        # A descriptor of its own, since LMDB does not give its own away. It is closed after the environment is:
        # closing any descriptor of a file drops the locks that this process has on it (fcntl(2)).
        self._descriptor = os.open(data_file, os.O_RDWR | os.O_CLOEXEC)
        self._folder = data_file.parent
        self._map_size = map_size
        # Everything below is allocated, holes that LMDB left between its pages included.
        self._end = 0
        # The bytes of all tables, when they were counted last.
        self.used_bytes = 0

    def reaches(self, end: int) -> bool:
        """Whether the file is allocated up to `end`. Allocates what is missing, if the file system has it."""
        if end <= self._end:
            return True
        if end > self._map_size:
            return False
        ample = min(end + _STEP_BYTES, self._map_size)
        return self._allocate(ample) or (end < ample and self._allocate(end))

    def allocated_bytes(self) -> int:
        """What the file takes of its file system."""
        return os.fstat(self._descriptor).st_blocks * 512

    def available_bytes(self) -> int:
        """What the file takes, and what it could take beyond that."""
        found = os.statvfs(self._folder)
        return self.allocated_bytes() + found.f_bavail * found.f_frsize

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # An environment that is dropped closes itself, too.
    __del__ = close

    def _allocate(self, end: int) -> bool:
        try:
            os.posix_fallocate(self._descriptor, self._end, end - self._end)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            return False
        self._end = end
        return True
