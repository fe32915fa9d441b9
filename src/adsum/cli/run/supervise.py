"""Standing between a command and whoever started it, as if the command had been started by them.

The command stays in the process group of `adsum run`, like one started by env(1) or nice(1): what a terminal sends
(Ctrl-C, Ctrl-Z, a new window size) reaches it directly. So only a signal that somebody sent to `adsum run` itself is
passed on, and nothing a key sends arrives twice; the kernel tells the two apart (`si_code`, sigaction(2)). What was
sent to the whole group with kill(2) cannot be told from what was sent to one process, and does.
"""

from __future__ import annotations

import os
import signal
import sys

from .job_control import stop_with

# All but the two that cannot be caught. Of those that say of a process that its own code failed (SIGSEGV, SIGABRT) only
# the sent ones wait here: a fault ends even a process that blocks it (signal(7)), and abort(3) unblocks its signal.
WATCHED = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def block() -> None:
    """From now on signals wait for `attend`. A blocked signal is kept, whatever is set for it (signal(7))."""
    # Ignored, as it may have been inherited, it would let children vanish without a status (wait(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


def attend(child: int) -> int:
    """Pass signals on to `child`, stop when it stops, and return its exit code: 128 + n where signal n ended it.

    `block` has been called before the child could end.
    """
    while True:
        received = signal.sigwaitinfo(WATCHED)
        if received.si_signo == signal.SIGCHLD:
            # Whoever sent it: it may stand for one of the kernel that came while it waited.
            code = _collect(child)
            if code is not None:
                return code
        if _is_for_command(received, child):
            _pass_on(received.si_signo, child)


def _is_for_command(received: signal.struct_siginfo, child: int) -> bool:
    if received.si_code <= 0:
        # Sent by a process: to this one alone, as far as can be known. What the command sends to its own group, itself
        # included, it has got.
        return received.si_pid != child
    # From the kernel it comes to the whole group, but for the end of a terminal, which the session's leader is told
    # first (setsid(2), termios(3)).
    return received.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()


def _pass_on(number: int, child: int) -> None:
    try:
        # The child was not waited for, so its pid cannot be anybody else's.
        os.kill(child, number)
    except PermissionError:
        # It has become another user, as sudo(8) does. It is still to be waited for.
        name = signal.strsignal(number) or f"signal {number}"
        print(f"adsum: the program runs as another user and cannot be sent: {name}", file=sys.stderr)


def _collect(child: int) -> int | None:
    """What became of the child, and of orphans where this is the first process of a container."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if pid != child:
            continue
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        stop_with(child, os.WSTOPSIG(status))
