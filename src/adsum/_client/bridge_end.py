"""Ending the bridge of a folder by a signal, which reaches exactly the process that has the lock."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path

from .._foreign import reraise_foreign
from .._os import polling
from .._os.pidfd import open_pidfd, send_signal
from .._os.presence import lock_holders
from ..errors import Timeout
from .cluster import LOCK_NAME, running_bridge

_POLL_SECONDS = 0.005


def end_bridge(folder: Path, number: signal.Signals, until: float) -> bool:
    """Send a signal to the bridge of a folder, and wait until it has ended. False where none runs.

    Errors: `Timeout` where it still runs at `until` (monotonic), or is in another PID namespace.
    """
    pid = running_bridge(folder)
    if pid is None:
        return False
    while pid is not None and not _end(folder, pid, number, until):
        if time.monotonic() >= until:
            raise Timeout(
                f"the bridge of {folder} (pid {pid}) was asked to end and still runs. Is it stopped, or in another PID "
                "namespace? Resume it (kill -CONT), or end it there, and try again"
            )
        time.sleep(_POLL_SECONDS)
        pid = running_bridge(folder)
    return True


def _end(folder: Path, pid: int, number: signal.Signals, until: float) -> bool:
    """Send the signal to this process, and wait for its end. False where it is not known to be the bridge."""
    try:
        pidfd = open_pidfd(pid) if pid else None
    except OSError as error:
        reraise_foreign(error)
        return False
    if pidfd is None:
        return False
    try:
        # The number is of this process only if the process still has the lock.
        if pid not in lock_holders(folder / LOCK_NAME):
            return False
        send_signal(pidfd, number)
        ended = polling.wait_set()
        ended.register(pidfd, polling.POLLIN)
        return bool(ended.poll(max(0, math.ceil((until - time.monotonic()) * 1000))))
    except ProcessLookupError as error:
        reraise_foreign(error)
        return True
    finally:
        os.close(pidfd)
