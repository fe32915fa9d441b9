"""What a process has in memory, according to the kernel: its name, the files that it maps."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

from .._foreign import reraise_foreign

# From linux/mman.h; the module `mmap` does not have it.
_MAP_FIXED = 0x10


def name_of(pid: int) -> str:
    """The name of a process's program (proc(5), comm); ``?`` for one that has exited."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError as error:
        reraise_foreign(error)
        return "?"


def maps(pid: int, file: Path) -> bool:
    """Whether a process maps `file`. True also where the kernel does not say (proc_pid_maps(5) needs the permission to
    trace the process): unknown is never dead."""
    try:
        inode = str(os.stat(file).st_ino)
        mapped = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        reraise_foreign(error)
        return False
    except PermissionError as error:
        reraise_foreign(error)
        return True
    return any(inode in line.split(maxsplit=5)[4:5] for line in mapped.splitlines())


def keep_private(files: Iterable[tuple[int, int]]) -> None:
    """Put empty private memory in the place of this process's writable mappings of `files`, given as device and inode:
    no other process sees what this one writes there from now on."""
    # Imported here: few processes need it.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    inodes = {str(inode) for _, inode in files}
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        span, access, _offset, _device, inode = line.split(maxsplit=5)[:5]
        if inode in inodes and access.startswith("rw") and access.endswith("s"):
            start, end = (int(address, 16) for address in span.split("-"))
            how = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
            if libc.mmap(start, end - start, mmap.PROT_READ | mmap.PROT_WRITE, how, -1, 0) != start:
                raise OSError(ctypes.get_errno(), "cannot map private memory in the place of a file")
