"""Starting a thread, which the kernel may refuse for a moment: at the limit of threads (pids.max, RLIMIT_NPROC), or
without memory for a stack."""

from __future__ import annotations

import threading

from .._foreign import reraise_foreign
from ..errors import SystemBusy


def start(thread: threading.Thread) -> None:
    """Start a thread. Errors: `SystemBusy` where none can be started now."""
    try:
        thread.start()
    except RuntimeError as error:
        reraise_foreign(error)
        raise cannot_start(error) from error


def join(thread: threading.Thread | None, seconds: float) -> None:
    """Wait until a thread has ended, so long at most; not for this one, and not for one whose start was interrupted, or
    where there is none."""
    try:
        if thread is not None:
            thread.join(seconds)
    except RuntimeError as error:
        # "cannot join thread before it is started", "cannot join current thread".
        reraise_foreign(error)


def cannot_start(error: RuntimeError) -> SystemBusy:
    """The error of a call that needs a thread."""
    return SystemBusy(
        f"this process cannot start a thread now ({error}); try again, end some threads, or raise their limit "
        "(pids.max, ulimit -u) or that of memory"
    )
