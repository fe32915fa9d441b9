"""Checks of the files in a registry's folder: whether a registrar can start with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ... import admin
from ...errors import InvalidName, PermissionDenied
from .findings import DoctorFinding, ok, problem, warning

# A registrar serves in a tenth of a second; on a busy machine it may take longer.
START_SECONDS = 2.0


def check_files(folder: Path) -> Iterator[DoctorFinding]:
    """One finding, or one for each fault; none where the folder cannot be used, which its own check reports."""
    try:
        if not admin.check_folder(folder):
            return
    except (InvalidName, PermissionDenied):
        return
    faults = list(_faults(folder))
    yield from faults or [ok("files", "no file prevents a registrar from starting")]


def _faults(folder: Path) -> Iterator[DoctorFinding]:
    if starting := _starting_for_long(folder):
        pids = ", ".join(map(str, starting))
        yield problem(
            "files",
            f"process {pids}, or a child that inherited it, holds the lock on {folder / 'starting'} and starts no "
            "registrar; no other process can start one",
            f"see which process has it open (fuser -v '{folder / 'starting'}'), and end it",
        )
    for name in admin.WRITTEN_FILES:
        path = folder / name
        if why := _why_not_writable(path):
            found = f"{path} cannot be written: {why}"
            if name == admin.LOG_NAME:
                yield warning("files", f"{found}; a registrar that starts here has no log", _remedy(path))
            else:
                yield problem("files", f"{found}; no registrar can start", _remedy(path))
    for path in (folder / name for name in admin.RENAMED_FILES):
        if path.is_dir() and not path.is_symlink():
            yield problem("files", f"{path} is a folder; no registrar can start", _remedy(path))
    for path in folder.glob("tables.*"):
        if not path.is_dir():
            yield problem("files", f"{path} is not a folder; no registrar can start", _remedy(path))


def _starting_for_long(folder: Path) -> list[int]:
    """The processes that hold the lock of starts for longer than a start takes."""
    until = time.monotonic() + START_SECONDS
    while (starting := admin.starting_processes(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    return starting


def _why_not_writable(path: Path) -> str | None:
    try:
        # Without O_NONBLOCK, opening a named pipe would block until it has a reader (fifo(7)).
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        if path.is_symlink() and not Path(os.path.realpath(path)).parent.is_dir():
            return f"it is a link to {path.readlink()}, which cannot be created"
        # The registrar creates it.
        return None
    except OSError as error:
        return error.strerror or str(error)
    return None


def _remedy(path: Path) -> str:
    return f"remove it (rm -r '{path}'), or move it out of the folder; the next write creates what is missing"
