"""A place for the demo: a folder that is there while it runs and gone when it ends, whichever way it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import adsum
from adsum import admin

from .team import Team

_LIMITS = adsum.Limits(max_memory_bytes=16 * 1024 * 1024, linger=2.0)
_PREFIX = "demo-"
# A folder is locked a moment after it was made, and filled then. One that is still empty at this age never will be.
_ABANDONED_SECONDS = 60.0
_PATIENCE_SECONDS = 5.0


class Workspace(NamedTuple):
    """Where it all happens. `private` tells whether the registry is the demo's own."""

    folder: Path
    team: Team
    private: bool

    @property
    def log(self) -> Path:
        return self.folder / "agents.log"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def orders(self) -> Path:
        return self.folder / "orders"


@contextlib.contextmanager
def furnished(name: str | None, path: Path | None) -> Iterator[Workspace]:
    """A place with a registry of its own, unless the name or path of another is given. There the demo keeps to a
    namespace of its own."""
    base = admin.base_folder()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with _locked(folder):
        try:
            (folder / "agents").mkdir()
            private = name is None and path is None
            registry = folder / "registry" if private else admin.registry_folder(name or "default", path)
            team = Team(
                registry=str(registry),
                namespace="default" if private else folder.name,
                node=os.uname().nodename,
                sockets=str(folder / "agents"),
                limits=_LIMITS if private else None,
            )
            yield Workspace(folder, team, private)
        finally:
            # Under the lock: without it a demo that starts now might take the folder away as well.
            shutil.rmtree(folder)


def end_registrar(registry: adsum.Registry) -> None:
    """End the registrar of a registry that nobody will use any more, and wait until it has gone."""
    pid = registry.stats().registrar_pid
    if pid is None:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # `stats` names a registrar that lives. If it still names this one, then it held the number all the while, so
        # this is what the pidfd was opened for.
        if registry.stats().registrar_pid == pid:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(_PATIENCE_SECONDS * 1000)
    except ProcessLookupError:
        # It left by itself.
        return
    finally:
        os.close(pidfd)


def wait_until_empty(registry: adsum.Registry) -> None:
    """Wait, within reason, until none of the demo's processes is registered any more."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while _stored(registry) and time.monotonic() < until:
        time.sleep(0.01)


def _stored(registry: adsum.Registry) -> list[adsum.Entry]:
    """What stands in the tables, the dead whom nobody has taken out yet included."""
    with registry.watch() as watch:
        return watch.snapshot


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """While the lock is held the folder is in use: the kernel lets go of it when its holder dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(base: Path) -> None:
    """Remove what demos left that could not clean up, for they were killed with SIGKILL: the next one does, at once."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            if any(folder.iterdir()) or time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                with _locked(folder):
                    shutil.rmtree(folder)
        except OSError:
            # In use, somebody else's, or just being removed by another demo.
            continue
