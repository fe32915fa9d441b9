"""The folder of registries of one test: made, and removed with all that serves it.

A folder in memory belongs to one test, so tests may run beside each other (pytest-xdist), and one that fails leaves
nothing to the next.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from .. import admin
from .._client.client import clients
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


def open_patiently(folder: Path) -> Registry:
    """The default registry in a folder of registries, made with limits that suit a busy machine. Its processes have
    them too, because the limits are the registry's own."""
    path = folder / "default"
    limits = Limits(registration_timeout=WRITE_SECONDS)
    admin.create_folder(path)
    admin.start_registrar(path, limits, WRITE_SECONDS)
    return open_registry(path=path, timeout=WRITE_SECONDS)


class Place:
    """A new, empty folder of registries, in memory where the machine has a file system there."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="adsum-pytest-", dir=memory if os.access(memory, os.W_OK) else None))
        self._leftovers = Leftovers(self.folder)

    def remove(self) -> str:
        """End what is left in the registries of this folder, and remove it. Returns what was left, as a text with a
        remedy; empty where nothing was."""
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
