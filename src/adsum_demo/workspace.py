"""The demo's workspace: a folder that exists while the demo runs, and is removed however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
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
# A demo locks its folder a moment after it has made it, and fills it then. One that is still empty at this age was
# abandoned in that moment.
_ABANDONED_SECONDS = 60.0
_END_SECONDS = 5.0


class Workspace(NamedTuple):
    """The folder, and the team that works in it. `is_private` where the registry is the demo's own."""

    folder: Path
    team: Team
    is_private: bool

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
def open_workspace(name: str | None, path: Path | None) -> Iterator[Workspace]:
    """A new workspace with a registry of its own; or, where the name or path of another registry is given, with a
    namespace of its own in that one."""
    base = admin.base_folder()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with _locked(folder):
        try:
            (folder / "agents").mkdir()
            is_private = name is None and path is None
            registry = folder / "registry" if is_private else admin.registry_folder(name or "default", path)
            team = Team(
                registry=str(registry),
                namespace="default" if is_private else folder.name,
                node=os.uname().nodename,
                sockets=str(folder / "agents"),
                limits=_LIMITS if is_private else None,
            )
            yield Workspace(folder, team, is_private)
        finally:
            # Under the lock: without it, a demo that starts now might remove the folder at the same time.
            shutil.rmtree(folder)


def clean_up(workspace: Workspace, registry: adsum.Registry) -> None:
    """Wait, for some seconds at most, until the registry has removed the entries of the demo's processes. Then stop the
    registrar of a private registry."""
    until = time.monotonic() + _END_SECONDS
    while _stored_entries(registry) and time.monotonic() < until:
        time.sleep(0.01)
    if workspace.is_private:
        # One that does not end in time finds its folder removed, and ends then.
        with contextlib.suppress(adsum.Timeout):
            admin.stop_registrar(registry.folder, _END_SECONDS)


def _stored_entries(registry: adsum.Registry) -> list[adsum.Entry]:
    """The entries in the tables, including those of dead processes that the registrar has not removed yet."""
    with registry.watch() as watch:
        return watch.snapshot


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock that marks the folder as in use. The kernel releases it when the process dies (flock(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of demos that were killed with SIGKILL and could not clean up."""
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            if any(folder.iterdir()) or time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                with _locked(folder):
                    shutil.rmtree(folder)
        except OSError:
            # It is in use, belongs to another user, or another demo is removing it.
            continue
