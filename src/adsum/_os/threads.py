"""Starting a thread, which the kernel may refuse for a moment: at the limit of threads (pids.max, RLIMIT_NPROC), or
without memory for a stack."""

from __future__ import annotations

import os
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


def take_no_processor() -> None:
    """From now on a wake-up of this thread takes no processor from a thread that runs; it waits for one (SCHED_BATCH,
    sched(7)). Nothing changes where the program chose another policy, or a sandbox refuses the call."""
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        reraise_foreign(error)


def cannot_start(error: RuntimeError) -> SystemBusy:
    """The error of a call that needs a thread."""
    return SystemBusy(
        f"this process cannot start a thread now ({error}); try again, end some threads, or raise their limit "
        "(pids.max, ulimit -u) or that of memory"
    )
