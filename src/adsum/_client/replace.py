"""Stopping the registrar of a folder, and replacing it: it exits, one of this version starts, and every entry stays in
the tables.

While a registrar is replaced, the lock on the file ``starting`` is held from before the old registrar exits until the
new one serves. Clients that lose their registrar meanwhile, those of an older version included, therefore wait instead
of starting one themselves.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from pathlib import Path

from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os import identity, polling
from .._os.pidfd import send_signal
from .._os.presence import is_held
from .._store import older_tables
from .._store import page as pages
from ..errors import Timeout
from .launch import Launch
from .spawn import start_registrar

_POLL_SECONDS = 0.01


def stop_registrar(folder: Path, until: float) -> bool:
    """Ask the registrar of `folder`, of whatever version, to exit (SIGTERM), and wait until no process holds the lock.

    Returns whether one exited; False where none ran. Errors: `Timeout` at `until` (monotonic).
    """
    stopped = False
    while (ended := _end_announced(folder, until)) or is_held(folder / "lock"):
        stopped = True
        if not ended:
            # A registrar that is starting holds the lock before the page names it.
            if time.monotonic() >= until:
                raise Timeout(_still_runs(folder))
            time.sleep(_POLL_SECONDS)
    return stopped


def _end_announced(folder: Path, until: float) -> bool:
    """Ask the registrar that the page names to exit, and wait for it. Whether it was alive and has exited.

    The signal goes through a pidfd of exactly that process, so a reused pid is never hit (pidfd_send_signal(2)).
    """
    page = pages.peek(folder) if folders.check(folder) else None
    pidfd = identity.open_verified(page.registrar) if page is not None and page.registrar.pid else None
    if pidfd is None:
        return False
    try:
        send_signal(pidfd, signal.SIGTERM)
        exited = polling.wait_set()
        exited.register(pidfd, polling.POLLIN)
        return bool(exited.poll(max(0, math.ceil((until - time.monotonic()) * 1000))))
    except ProcessLookupError as error:
        reraise_foreign(error)
        # It exited in the same moment.
        return True
    finally:
        os.close(pidfd)


def replace_registrar(folder: Path, launch: Launch, until: float) -> None:
    """Stop the registrar that serves `folder`, if one does, and start one of this version in its place.

    Tables of an older format are migrated on the way. The limits count if this makes the registry. Errors:
    `VersionMismatch` where the format is newer than this version's; `Timeout` at `until` (monotonic); those of
    `start_registrar`.
    """
    require_not_newer(folder)

    def stop() -> None:
        stop_registrar(folder, until)

    # Where another process has just started a registrar, that one is stopped in the next round.
    while not start_registrar(folder, launch, until, first=stop):
        if time.monotonic() >= until:
            raise Timeout(f"no registrar of this version could be started in {folder} in time; see registrar.log there")
        time.sleep(_POLL_SECONDS)


def _still_runs(folder: Path) -> str:
    page = pages.peek(folder)
    pid = page.registrar.pid if page is not None else 0
    return (
        f"the registrar of {folder} (pid {pid}) was asked to exit and still runs, no entry was changed. Is it stopped? "
        "Resume it (kill -CONT), or kill it, and try again"
    )


def require_not_newer(folder: Path) -> None:
    """Raise `VersionMismatch` where the registry's format is newer: a registrar of this version cannot serve it."""
    if folders.check(folder):
        with contextlib.suppress(pages.OlderFormat):
            pages.attach(folder)


def replace_older(folder: Path, launch: Launch, until: float) -> bool:
    """Replace a registrar of an older version that no process needs. False where the tables are not older.

    Errors: as `require_unneeded` and `replace_registrar`.
    """
    if not require_unneeded(folder):
        return False
    replace_registrar(folder, launch, until)
    return True


def require_unneeded(folder: Path) -> bool:
    """Whether the registry's tables are of an older format. If so, no living process needs them.

    Errors: `VersionMismatch`, which names the processes that need them and the remedy.
    """
    _, older = older_tables.attach(folder, older_tables.require_unneeded)
    return older is not None
