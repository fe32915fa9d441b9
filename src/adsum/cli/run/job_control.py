"""Stopping with a command, and going on with it, so that the shell takes the terminal back and says so.

A shell learns of its job only from its own child, which is `adsum run`; so that has to stop when the command does. Most
commands stay in the process group of `adsum run` and share the terminal with it. One that makes jobs of its own, such
as an interactive shell, moves to a group of its own and takes the terminal with it; stopped, it would leave the
terminal to nobody. There `adsum run` does what sudo(8) does: it takes the terminal back, stops, and when it goes on in
the foreground it hands the terminal over again and continues the command.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_WANTS_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_FROM_TERMINAL = (signal.SIGTSTP, *_WANTS_TERMINAL)


def stop_with(child: int, number: int) -> None:
    """`child` was stopped by signal `number`: stop as well, and once continued, continue it.

    All signals are blocked; with SIGTTOU blocked, a process in the background may say who has the terminal
    (tcsetpgrp(3)).
    """
    ours, its = os.getpgrp(), os.getpgid(child)
    with _terminal() as terminal:
        if terminal is None and number not in _FROM_TERMINAL:
            # Between its sender and the command: no shell is there, and whoever sent it would not know that this
            # process must be continued too.
            return
        if number in _WANTS_TERMINAL and its != ours and _foreground(terminal) == ours:
            _hand(terminal, its)
            _continue(child)
            return
        had_terminal = its != ours and _foreground(terminal) == its
        if had_terminal:
            _hand(terminal, ours)
        continued = _stop(number)
        # Only from the foreground, where `fg` puts this process before it continues it. After `bg` the terminal is the
        # shell's.
        if had_terminal and _foreground(terminal) == ours:
            _hand(terminal, its)
    # Even where this process could not stop: the terminal is not left to somebody whom nobody can continue.
    if continued or had_terminal:
        _continue(child)


def _continue(child: int) -> None:
    """Continue the command: all of its group where that is its own, as a shell does with a job."""
    group = os.getpgid(child)
    if group == os.getpgrp():
        os.kill(child, signal.SIGCONT)
    else:
        os.killpg(group, signal.SIGCONT)


def _stop(number: int) -> bool:
    """Stop until SIGCONT comes. False where it did not, because this process cannot be stopped so.

    That is the first process of a container (kill(2)), or for signals of a terminal one in an orphaned group, which no
    shell is there to continue (setpgid(2)).
    """
    if _take_continue():
        # Sent since the command stopped, it meant both; to stop now would discard it (signal(7)).
        return True
    if number in _FROM_TERMINAL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here it stands.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    return _take_continue()


def _take_continue() -> bool:
    return signal.sigtimedwait({signal.SIGCONT}, 0) is not None


@contextmanager
def _terminal() -> Iterator[int | None]:
    """The controlling terminal of this process, None where it has none."""
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
    """The process group that has the terminal."""
    try:
        return None if terminal is None else os.tcgetpgrp(terminal)
    except OSError:
        # It was hung up.
        return None


def _hand(terminal: int | None, group: int) -> None:
    """Give the terminal to a process group."""
    try:
        if terminal is not None:
            os.tcsetpgrp(terminal, group)
    except OSError:
        # It was hung up, or the group is gone: nobody is left there who could want it.
        return
