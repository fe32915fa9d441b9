"""Standing between a command and whoever started it, as if the command had been started by them.

The command stays in the process group of `adsum run`, like one started by env(1) or nice(1): what a terminal sends
(Ctrl-C, Ctrl-Z, a new window size) reaches it directly. So only a signal that somebody sent to `adsum run` itself is
passed on, and nothing a key sends arrives twice; the kernel tells the two apart (`si_code`, sigaction(2)). What was
sent to the whole group with kill(2) cannot be told from what was sent to one process, and does.
"""

from __future__ import annotations

import os
import signal

# Not those that cannot be caught, that say of this process's own code that it failed, or that the terminal sends to
# background jobs that read or write it.
FORWARDED = frozenset(
    signal.valid_signals()
    - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP}
    - {signal.SIGTTIN, signal.SIGTTOU}
)
WATCHED = FORWARDED | {signal.SIGCHLD}
_JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


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
            code = _collect(child)
            if code is not None:
                return code
        elif _is_for_command(received, child):
            # The child was not waited for, so its pid cannot be anybody else's.
            os.kill(child, received.si_signo)


def _is_for_command(received: signal.struct_siginfo, child: int) -> bool:
    if received.si_code <= 0:
        # Sent by a process: to this one alone, as far as can be known. What the command sends to its own group, itself
        # included, it has got.
        return received.si_pid != child
    # From the kernel it comes to the whole group, but for the end of a terminal, which the session's leader is told
    # first (setsid(2), termios(3)).
    return received.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()


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
        _stop_too(os.WSTOPSIG(status))


def _stop_too(number: int) -> None:
    """The command was stopped: stop as well, so that the shell takes the terminal back and says so.

    A SIGSTOP outside of a terminal is between its sender and the command: whoever sent it would not know that this
    process must be continued too.
    """
    if number not in _JOB_CONTROL and not _has_terminal():
        return
    if number not in _JOB_CONTROL:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    # With the default action: stop, unless no shell is there that could continue (an orphaned group, setpgid(2)).
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    # Here it stands until somebody sends SIGCONT, which waits for `attend` to be passed on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {number} & WATCHED)


def _has_terminal() -> bool:
    """Whether this process is in the foreground of a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
