"""Replacing the registrar that serves: it exits, one of this version starts, and every entry stays in the tables.

The lock on the file ``starting`` is held from before the old registrar exits until the new one serves. Clients that
lose their registrar meanwhile, those of an older version included, therefore wait instead of starting one themselves.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from .._os import folder as folders
from .._os import identity
from .._store import migration
from .._store import page as pages
from ..errors import Timeout
from ..model import Limits
from .spawn import start_registrar

_POLL_SECONDS = 0.01


def stop_registrar(folder: Path, timeout: float) -> bool:
    """Ask the registrar of `folder`, of whatever version, to exit (SIGTERM), and wait at most `timeout` seconds.

    True where one exited; False where none serves, or where it did not exit in time. The signal goes through a pidfd of
    exactly the process that the page names, so a reused pid is never hit (pidfd_send_signal(2)).
    """
    page = pages.peek(folder) if folders.check(folder) else None
    pidfd = identity.open_verified(page.registrar) if page is not None and page.registrar.pid else None
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        exited = select.poll()
        exited.register(pidfd, select.POLLIN)
        return bool(exited.poll(max(0, int(timeout * 1000))))
    except ProcessLookupError:
        # It exited in the same moment.
        return True
    finally:
        os.close(pidfd)


def replace_registrar(folder: Path, limits: Limits, until: float) -> None:
    """Stop the registrar that serves `folder`, if one does, and start one of this version in its place.

    Tables of an older format are migrated on the way. `limits` count if this makes the registry. Errors: `Timeout` at
    `until` (monotonic) where the old registrar does not exit; those of `start_registrar`.
    """
    replaced = False

    def stop() -> None:
        nonlocal replaced
        stop_registrar(folder, until - time.monotonic())
        replaced = True

    while not replaced:
        start_registrar(folder, limits, until, first=stop)
        if not replaced:
            # Another process is starting a registrar; that one is replaced as soon as it serves.
            if time.monotonic() >= until:
                raise Timeout(f"the registrar of {folder} does not exit; nothing was changed. Is it stopped?")
            time.sleep(_POLL_SECONDS)


def replace_older(folder: Path, limits: Limits, until: float) -> bool:
    """Replace a registrar of an older version, whose tables no living member needs. False where they are not older.

    Errors: `VersionMismatch`, which names the living members and the remedy; as `replace_registrar`.
    """
    try:
        pages.attach(folder)
    except pages.OlderFormat as older:
        migration.require_no_living_member(folder, older.page)
        replace_registrar(folder, limits, until)
        return True
    return False
