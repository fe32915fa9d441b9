"""What the kernel says of another process's memory: its name, and whether it maps a file."""

from __future__ import annotations

import os
from pathlib import Path

from .._foreign import reraise_foreign


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
