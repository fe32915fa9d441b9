"""The folder of registries of one test: made, and removed with all that serves it.

A folder in memory belongs to one test, so tests may run beside each other (pytest-xdist), and one that fails leaves
nothing to the next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .. import admin
from .._client.client import clients
from .._os.presence import lock_holders
from ..errors import AdsumError, Timeout
from ..model import Limits
from ..opening import open as open_registry
from ..registry import Registry
from .leftovers import Leftovers, end_registrars

# A write may take so long on a very busy machine. It costs nothing on another one.
WRITE_SECONDS = 30.0
# What a registrar takes to end is one commit.
_STOP_SECONDS = 5.0
_REMOVALS = 100
_PREFIX = "adsum-pytest-"


def open_patiently(folder: Path) -> Registry:
    """The default registry in a folder of registries, made with limits that suit a busy machine. Its processes have
    them too, because the limits are the registry's own."""
    path = folder / "default"
    limits = Limits(registration_timeout=WRITE_SECONDS)
    admin.create_folder(path)
    admin.start_registrar(path, limits, WRITE_SECONDS)
    return open_registry(path=path, timeout=WRITE_SECONDS)


class ScratchFolder:
    """A new, empty folder of registries, in memory where the machine has a file system there. It is locked while this
    process lives, so that a later one can remove it where this one is killed."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        _remove_abandoned(base)
        # Under another name until it is locked: for a moment it looks as one that was left.
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = made.rename(base / made.name[1:])
        self._leftovers = Leftovers(self.folder)

    def remove(self) -> str:
        """End what is left in the registries of this folder, and remove it. Returns what was left, as a text with a
        remedy; empty where nothing was."""
        try:
            return self._end_all()
        finally:
            os.close(self._lock)

    def _end_all(self) -> str:
        self._let_go()
        registries = sorted(file.parent for file in self.folder.rglob("lock"))
        found = [text for registry in registries for text in self._leftovers.end_members(registry)]
        found += [text for registry in registries for text in _stop(registry)]
        self._remove_files()
        return "\n".join(found)

    def _let_go(self) -> None:
        """End what a registry object of this process that the test did not close would do when the folder is gone:
        register its members anew, and start a registrar for its threads, tasks and standbys."""
        for client in list(clients.values()):
            if client.folder.is_relative_to(self.folder):
                client.keeper.close()
                client.pipeline.close()
                client.keeper.join()

    def _remove_files(self) -> None:
        for attempt in range(_REMOVALS):
            try:
                shutil.rmtree(self.folder)
            except FileNotFoundError:
                # Also a file that a process removed while the folder was being read.
                if not self.folder.exists():
                    return
            except OSError as error:
                # A process is still writing into it.
                if error.errno != errno.ENOTEMPTY or attempt == _REMOVALS - 1:
                    raise
            else:
                return


def _stop(registry: Path) -> list[str]:
    try:
        admin.stop_registrar(registry, _STOP_SECONDS)
    except Timeout:
        return end_registrars(registry)
    except AdsumError:
        # The test has damaged the folder, or its rights. What serves it has the lock all the same.
        return end_registrars(registry)
    return []


@cache
def _remove_abandoned(base: Path) -> None:
    """Once in a process: remove the folders of tests whose process was killed. A folder stays while a registrar serves
    it: a process that was left uses it."""
    for folder in base.glob(f"{_PREFIX}*"):
        with _locked(folder) as is_abandoned:
            if is_abandoned and not any(lock_holders(file) for file in folder.rglob("lock")):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether no process had locked a folder of this user. In the block it is locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        # It was removed at this moment, or is another user's.
        yield False
        return
    is_free = os.fstat(descriptor).st_uid == os.geteuid()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)
