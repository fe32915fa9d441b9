"""The processes of a host, found and killed together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

# prctl(2).
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)
_END_SECONDS = 10.0


def adopt_orphans() -> None:
    """Become the parent of all processes below this one whose parents end."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. For a child, between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def below(pid: int) -> list[int]:
    """All processes whose parent is `pid` or below it, as ``/proc`` shows them now."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                # The command, field 2, may hold spaces and parentheses (proc(5)).
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children[parent].append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        new = children.pop(waiting.pop(), [])
        found += new
        waiting += new
    return found


def kill_all(pids: Iterable[int]) -> float:
    """Kill these processes at once, and wait until the kernel has ended them. Returns the moment after that."""
    poll = select.poll()
    pidfds = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    waiting = set(pidfds)
    until = time.monotonic() + _END_SECONDS
    while waiting and time.monotonic() < until:
        for pidfd, _ in poll.poll(100):
            poll.unregister(pidfd)
            waiting.discard(pidfd)
    ended = time.monotonic()
    for pidfd in pidfds:
        os.close(pidfd)
    return ended


def reap_adopted() -> None:
    """Take the exit codes of the children that have ended and that nothing else waits for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
