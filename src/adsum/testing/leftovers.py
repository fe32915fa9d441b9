"""Processes that a test has left in its registries: found, ended, and named.

Left is a process that was started while the test ran and is alive at its end. One that was there before, such as a
worker of a pool for all tests, may be a member of a test's registry and goes on. Of those that are left only the test's
own are ended: its descendants, and processes with its ADSUM_DIR.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .._os import identity, polling
from .._os.pidfd import open_pidfd, send_signal
from .._os.presence import lock_holders
from .._store.query import ALL
from ..errors import AdsumError
from ..model import Entry
from ..opening import open as open_registry

# A process that was just asked to end needs a moment for it.
GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.01
_COMMAND_CHARACTERS = 200


class Leftovers:
    """The members that one test leaves; made when the test begins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # In the unit and the clock of the start times of processes (proc(5)).
        self._began = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))

    def end_members(self, registry: Path) -> list[str]:
        """End the members that are left in a registry; a line for each of them."""
        try:
            with open_registry(path=registry) as opened:
                until = time.monotonic() + GRACE_SECONDS
                while (left := self._left(opened.find(namespace=ALL, hosts="here"))) and time.monotonic() < until:
                    time.sleep(_LOOK_SECONDS)
        except AdsumError:
            # The test has damaged the registry on purpose: its members cannot be read.
            return []
        return [self._end(entry, registry) for entry in left]

    def _left(self, entries: list[Entry]) -> list[Entry]:
        """The entries of processes that were started during the test. The process that runs the test stays."""
        return [entry for entry in entries if entry.pid != os.getpid() and not 0 < entry.start_time < self._began]

    def _end(self, entry: Entry, registry: Path) -> str:
        command = _command(entry.pid)
        is_own = _is_descendant(entry.pid) or _has_in_environment(entry.pid, f"ADSUM_DIR={self._folder}")
        pidfd = identity.open_verified(entry.owner) if is_own else None
        if pidfd is not None:
            _kill(pidfd)
        ended = "was ended now" if is_own else "is no process of this test, and goes on"
        return (
            f"the test has left the member {entry.process_id} in the registry {registry.name!r}: pid {entry.pid} "
            f"({command}), which {ended}; end it in the test, or start it with adsum_member"
        )


def end_registrars(registry: Path) -> list[str]:
    """End the registrars that still hold the lock of a registry; a line for each of them."""
    found = []
    for pid in lock_holders(registry / "lock"):
        with contextlib.suppress(ProcessLookupError):
            pidfd = open_pidfd(pid)
            # It held the lock before and after its pidfd was opened, so that is the registrar's.
            if pid not in lock_holders(registry / "lock"):
                os.close(pidfd)
                continue
            _kill(pidfd)
            found.append(
                f"the test has left the registrar of the registry {registry.name!r}: pid {pid}, which did not end when "
                "it was asked to, and was ended now; did the test stop it (SIGSTOP)? Then continue it (SIGCONT)"
            )
    return found


def _kill(pidfd: int) -> None:
    """Send SIGKILL, wait until the process has ended, and close the pidfd."""
    try:
        send_signal(pidfd, signal.SIGKILL)
        ended = polling.wait_set()
        ended.register(pidfd, polling.POLLIN)
        ended.poll(GRACE_SECONDS * 1000)
    except ProcessLookupError:
        # It has ended by itself in this moment.
        return
    finally:
        os.close(pidfd)


def _is_descendant(pid: int) -> bool:
    while pid > 1:
        if (pid := _parent(pid)) == os.getpid():
            return True
    return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        # It has ended.
        return 0


def _has_in_environment(pid: int, variable: str) -> bool:
    try:
        return variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        # It has ended, or is another user's.
        return False


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended"
    return b" ".join(words).decode(errors="replace").strip()[:_COMMAND_CHARACTERS] or "a zombie"
