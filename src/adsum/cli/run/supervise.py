"""Supervises a command so that its parent shell sees no difference to a command that it started itself.

The command stays in the process group of `adsum run`, as with env(1) or nice(1), so signals of a terminal (Ctrl-C,
Ctrl-Z, a new window size) reach it directly. `adsum run` passes on only the signals that a process sent to it; the
kernel marks the difference (`si_code`, sigaction(2)). So a signal from a key arrives once. A signal that kill(2) sent
to the whole group looks like one sent to a single process, and arrives twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from .job_control import stop_with
from .tethers import Tethers

# All but the two that cannot be caught. SIGSEGV, SIGABRT and the like wait here only if they were sent: a fault ends
# even a process that blocks its signal (signal(7)), and abort(3) unblocks SIGABRT.
WATCHED = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

# One name for each thread of this process (proc(5)).
_THREADS = Path("/proc/self/task")
# How long the threads of a closed registry may take to end.
THREADS_SECONDS = 10.0


def block() -> None:
    """Keep all signals pending for `attend`, and let no thread take one. A blocked signal stays pending, whatever its
    disposition (signal(7))."""
    # If this process inherited it ignored, the kernel would discard the status of children (wait(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    _become_single_threaded()


def _become_single_threaded() -> None:
    """Wait until the threads of the closed registry have ended, which blocked no signal: the kernel gives a signal to
    any thread that does not block it, where SIGCHLD is discarded (signal(7))."""
    until = time.monotonic() + THREADS_SECONDS
    with contextlib.suppress(OSError):
        # A thread that Python has joined is still there for a moment.
        while len(list(_THREADS.iterdir())) > 1 and time.monotonic() < until:
            time.sleep(0.001)


def exit_code(ended: int) -> int:
    """The exit code of a shell for a program that `attend` saw end."""
    return ended if ended >= 0 else 128 - ended


def attend(child: int, tethers: Tethers) -> int:
    """Pass signals on to `child`, stop when it stops, end it when one of its `tethers` ends. Returns how it ended: its
    exit code, or the negative number of the signal that ended it.

    Call `block` before the child can end.
    """
    while True:
        tethers.wait(child)
        received = signal.sigwaitinfo(WATCHED)
        if received.si_signo == signal.SIGCHLD:
            # In every case, also if a process sent it: pending signals merge, so one of the kernel's may be lost in it.
            code = _collect(child)
            if code is not None:
                return code
        if _is_for_command(received, child):
            _pass_on(received.si_signo, child)


def _is_for_command(received: signal.struct_siginfo, child: int) -> bool:
    if received.si_code <= 0:
        # A process sent it, to this process alone as far as si_code shows. If the command sent it to its own group, it
        # has received it already.
        return received.si_pid != child
    # The kernel sends its signals to the whole group, except SIGHUP at the end of a terminal: that one goes to the
    # leader of the session first (setsid(2), termios(3)).
    return received.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()


def _pass_on(number: int, child: int) -> None:
    try:
        # The child is not reaped, so its pid cannot have been reused.
        os.kill(child, number)
    except PermissionError:
        # The command runs as another user, as sudo(8) does. Continue to wait for its end.
        name = signal.strsignal(number) or f"signal {number}"
        print(f"adsum: the program runs as another user, so adsum cannot send it: {name}", file=sys.stderr)


def _collect(child: int) -> int | None:
    """How the child ended, None while it runs. Reaps orphans where this is the first process of a container."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if pid != child:
            continue
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        stop_with(child, os.WSTOPSIG(status))
