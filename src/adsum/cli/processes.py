"""What /proc says of processes: parents, sessions, starts, working folders (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessRecord(NamedTuple):
    """A process as it was at one moment. `start_ticks` are clock ticks between boot and its start, as in
    `adsum.model.Owner`; `session` is the pid of its session's leader; `user` its real user id."""

    pid: int
    name: str
    parent: int
    session: int
    start_ticks: int
    user: int

    @property
    def started_at(self) -> float:
        """The time of its start, in seconds since the epoch, as the wall clock of now has it."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + self.start_ticks / _TICKS


def read(pid: int) -> ProcessRecord | None:
    """The process with this number; None where there is none, or only a zombie, or it cannot be read."""
    folder = _PROC / str(pid)
    try:
        stat = (folder / "stat").read_bytes()
        user = folder.stat().st_uid
    except OSError:
        return None
    # The name, field 2, may hold spaces and parentheses; the last ")" ends it.
    head, _, rest = stat.rpartition(b")")
    fields = rest.split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    name = head.partition(b"(")[2].decode(errors="replace")
    return ProcessRecord(pid, name, int(fields[1]), int(fields[3]), int(fields[19]), user)


def read_all() -> Iterator[ProcessRecord]:
    """The processes that can be read, one after the other."""
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (process := read(int(folder.name))) is not None:
            yield process


def working_folder(pid: int) -> str:
    """The working folder of a process; empty where it cannot be read."""
    try:
        return str((_PROC / str(pid) / "cwd").readlink())
    except OSError:
        return ""


def variable(pid: int, name: str) -> str | None:
    """The value that an environment variable had at the exec of a process; None where it had none, or that cannot be
    read: it is another user's."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{name}=".encode()
    found = [word for word in environment.split(b"\0") if word.startswith(prefix)]
    return found[0].removeprefix(prefix).decode(errors="replace") if found else None
