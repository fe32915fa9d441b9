"""Finds the registrar of a folder by the lock that it holds, and ends exactly that process.

The kernel reports the holder of the lock (/proc/locks, proc(5)). The tables are not needed, so this also finds a
registrar that is only starting, or whose tables a test has damaged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from .processes import state_of
from .waiting import WITHIN, eventually


def registrar_pid(folder: Path) -> int | None:
    """The pid of the current registrar of `folder`, starting or serving, or None."""
    try:
        lock = os.stat(folder / "lock")
    except FileNotFoundError:
        return None
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, *_, pid, held, _, _ = line.split()
        if kind == "FLOCK" and held == place:
            return int(pid)
    return None


@contextlib.contextmanager
def _registrar(folder: Path) -> Iterator[tuple[int, int] | None]:
    """Its pid, and a pidfd proven to be its own: it held the lock before and after the pidfd was opened."""
    while (pid := registrar_pid(folder)) is not None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if registrar_pid(folder) == pid:
                yield pid, pidfd
                return
        finally:
            os.close(pidfd)
    yield None


def _exits(pidfd: int, within: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within * 1000))


def end_registrar(folder: Path, number: signal.Signals = signal.SIGTERM, within: float = WITHIN) -> int | None:
    """Send the registrar of `folder` a signal and wait until it is gone. Returns its pid, or None if there was none."""
    with _registrar(folder) as found:
        if found is None:
            return None
        pid, pidfd = found
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
            # A test may have left it stopped. It may be gone already.
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        if not _exits(pidfd, within):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            _exits(pidfd, within)
            raise AssertionError(f"the registrar {pid} of {folder} did not end on {number.name} within {within:g} s")
        return pid


def kill_registrar(folder: Path) -> int | None:
    """`end_registrar` with SIGKILL, as a crash would."""
    return end_registrar(folder, signal.SIGKILL)


@contextlib.contextmanager
def stopped(folder: Path) -> Iterator[int]:
    """The registrar of `folder`, stopped inside the block (SIGSTOP) and continued after it. Yields its pid."""
    with _registrar(folder) as found:
        assert found is not None, f"no registrar serves {folder}"
        pid, pidfd = found
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        try:
            eventually(lambda: state_of(pid) == "T")
            yield pid
        finally:
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)


def remove_folder(folder: Path) -> None:
    """Remove a registry's folder while its members live. They may begin to make it anew before it is gone: then what
    they have made goes too."""
    while True:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
