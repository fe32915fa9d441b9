"""Job control: `adsum run` stops when its command stops, and continues with it.

A shell observes only its own child, which is `adsum run`. So `adsum run` has to stop when the command does; then the
shell takes the terminal back and reports the stopped job. Most commands stay in the process group of `adsum run` and
share the terminal with it. A command with job control of its own, such as an interactive shell, moves to a group of its
own and makes that the foreground group of the terminal. If only the command stopped, no process could use the terminal.
In that case `adsum run` does the same as sudo(8): it takes the terminal back and stops; when it is continued in the
foreground, it gives the terminal to the command again and continues it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_WANTS_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_FROM_TERMINAL = (signal.SIGTSTP, *_WANTS_TERMINAL)


def stop_with(child: int, number: int) -> None:
    """`child` was stopped by signal `number`: stop this process as well, and continue `child` when this one is
    continued.

    All signals are blocked. With SIGTTOU blocked, a background process may set the foreground group (tcsetpgrp(3)).
    """
    ours, its = os.getpgrp(), os.getpgid(child)
    with _terminal() as terminal:
        if terminal is None and number not in _FROM_TERMINAL:
            # A process sent SIGSTOP to the command, and there is no shell. If this process stopped too, the sender
            # would not know that it has to continue both.
            return
        if number in _WANTS_TERMINAL and its != ours and _foreground(terminal) == ours:
            _give(terminal, its)
            _continue(child)
            return
        had_terminal = its != ours and _foreground(terminal) == its
        if had_terminal:
            _give(terminal, ours)
        continued = _stop(number)
        # `fg` makes this process group the foreground group before it continues it. After `bg` the terminal belongs to
        # the shell.
        if had_terminal and _foreground(terminal) == ours:
            _give(terminal, its)
    # Also where this process could not stop: no process could continue a stopped command that has the terminal.
    if continued or had_terminal:
        _continue(child)


def _continue(child: int) -> None:
    """Continue the command: its whole group where it has one of its own, as a shell continues a job."""
    group = os.getpgid(child)
    if group == os.getpgrp():
        os.kill(child, signal.SIGCONT)
    else:
        os.killpg(group, signal.SIGCONT)


def _stop(number: int) -> bool:
    """Stop until SIGCONT comes. Returns False where this process did not stop.

    The kernel does not stop the first process of a container (kill(2)). It ignores the stop signals of a terminal in an
    orphaned process group, because no shell could continue it (setpgid(2)).
    """
    if _take_continue():
        # It came after the command stopped, and was meant for both. A stop now would discard it (signal(7)).
        return True
    if number in _FROM_TERMINAL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # This process stops when the signal is unblocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    return _take_continue()


def _take_continue() -> bool:
    return signal.sigtimedwait({signal.SIGCONT}, 0) is not None


@contextmanager
def _terminal() -> Iterator[int | None]:
    """The controlling terminal of this process; None where it has none."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        terminal = None
    try:
        yield terminal
    finally:
        if terminal is not None:
            os.close(terminal)


def _foreground(terminal: int | None) -> int | None:
    """The foreground process group of the terminal."""
    try:
        return None if terminal is None else os.tcgetpgrp(terminal)
    except OSError:
        # The terminal was hung up.
        return None


def _give(terminal: int | None, group: int) -> None:
    """Make a process group the foreground group of the terminal."""
    try:
        if terminal is not None:
            os.tcsetpgrp(terminal, group)
    except OSError:
        # The terminal was hung up, or the group has ended, so it needs no terminal.
        return
