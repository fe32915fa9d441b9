"""Starting a thread, which can fail like any other system call."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._foreign import reraise_foreign
from ..errors import SystemBusy


def start_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread. Errors: `SystemBusy` where no limit of processes or memory admits another one."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        reraise_foreign(error)
        raise SystemBusy(
            f"no thread can be started ({error}); end some, or raise the limit (ulimit -u, pids.max)"
        ) from error
    return thread
