"""Whether a living process uses a registry, also one that this process cannot see because of its PID namespace.

A process that is connected to a registry, or was, holds a shared lock on the file ``clients`` in the folder, for as
long as its registry is open; the registrar holds one on ``lock``. The kernel releases a lock when its process ends, and
shows it in every PID namespace (flock(2)). Numbers do not help here: those of processes mean others in another PID
namespace, and the inode of a namespace is used again once that is gone (pid_namespaces(7)).
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .._foreign import reraise_foreign
from .descriptors import Descriptor, note
from .forking import add_fork_aware
from .locks import locked

_FILE = "clients"
# How long a lock is waited for that another process has taken only to look; how long it is refused where there are
# clients; and how often it is tried.
_LOOK_SECONDS = 1.0
_CLIENTS_SECONDS = 0.02
_PAUSE_SECONDS = 0.001


class Presence:
    """This process's lock on the file ``clients`` of one folder. Safe for threads."""

    # Before `__init__` is done.
    _descriptor: Descriptor | None = None

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._lock = threading.RLock()
        self._closed = False
        add_fork_aware(self)

    @locked
    def show(self) -> None:
        """Hold the lock from now on. In a folder that was made anew, hold that of the new file."""
        if not self._is_shown():
            self._release()
            self._hold()

    def _is_shown(self) -> bool:
        held = self._descriptor
        try:
            return held is not None and held.is_ours() and os.fstat(held.number).st_nlink > 0
        except OSError as error:
            reraise_foreign(error)
            return False

    def _hold(self) -> None:
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reraise_foreign(error)
            # No descriptor is left, or the folder is gone. The call that came this far must not fail for it: as long as
            # a registrar serves, its own lock says the same.
            return
        try:
            # A process that asks `is_in_use` holds the lock for a moment only.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._descriptor = note(descriptor)
        except OSError as error:
            os.close(descriptor)
            reraise_foreign(error)
            return
        except BaseException:
            os.close(descriptor)
            raise
        if self._closed:
            self._release()

    def close(self) -> None:
        self._closed = True
        self._release()

    def _release(self) -> None:
        held = self._descriptor
        is_ours = held is not None and held.is_ours()
        # No interrupt and no other thread comes between these, because nothing is called: forgotten is closed.
        if held is not None and self._descriptor is held:
            self._descriptor = None
            if is_ours:
                os.close(held.number)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Where `close` was interrupted. At the end of the interpreter the modules are gone already.
        if not is_finalizing():
            self._release()

    def quiesce(self) -> None:
        """Nothing: a child drops its copy of the descriptor, and takes a lock of its own when it connects."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            # A thread of the parent may have held it.
            self._lock = threading.RLock()
            self._release()


def is_in_use(folder: Path, *, but_the_registrar: bool = False) -> bool:
    """Whether a client uses the registry in `folder`, or a registrar serves it. The registrar itself, which holds its
    lock, asks about all others."""
    return (not but_the_registrar and is_held(folder / "lock")) or _has_clients(folder)


def _has_clients(folder: Path) -> bool:
    """Whether a client shows itself. Another process that asks this has the lock for an instant: only a refusal that
    lasts counts."""
    until = time.monotonic() + _CLIENTS_SECONDS
    while _refuses(folder / _FILE, fcntl.LOCK_EX):
        if time.monotonic() > until:
            return True
        time.sleep(_PAUSE_SECONDS)
    return False


def hold_alone(file: Path) -> int | None:
    """Take the exclusive lock on a file, which is made if it is not there. The locked descriptor; None where another
    process has the lock.

    A process that asks `is_held` has a shared lock for an instant: this waits until it is gone, for `_LOOK_SECONDS` at
    most. So a question never keeps a registrar or a bridge from its start.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _takes_alone(descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _takes_alone(descriptor: int) -> bool:
    until = time.monotonic() + _LOOK_SECONDS
    while True:
        if _takes(descriptor, fcntl.LOCK_EX):
            return True
        if not _takes(descriptor, fcntl.LOCK_SH) or time.monotonic() > until:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_PAUSE_SECONDS)


def is_held(file: Path) -> bool:
    """Whether a process has the exclusive lock on a file, which it took with `hold_alone`."""
    return _refuses(file, fcntl.LOCK_SH)


def _refuses(file: Path, kind: int) -> bool:
    """Whether a lock of this kind could not be taken on a file now. The question takes it for an instant."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        reraise_foreign(error)
        return False
    try:
        return not _takes(descriptor, kind)
    finally:
        os.close(descriptor)


def _takes(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        reraise_foreign(error)
        return False
    return True


def lock_holders(file: Path) -> list[int]:
    """The processes that took a lock on a file and hold it, as far as the kernel names them (proc_locks(5)). A lock
    that a forked child has inherited is still listed under the process that took it, which may have ended."""
    try:
        found = os.stat(file)
        locks = Path("/proc/locks").read_bytes().decode()
    except OSError as error:
        reraise_foreign(error)
        return []
    file_id = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    rows = [line.split() for line in locks.splitlines()]
    return [int(row[4]) for row in rows if row[5:6] == [file_id]]
