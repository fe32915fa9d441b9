"""A full-screen program's terminal, restored however the program ends.

Signal handlers only note the signal and wake the loop that waits for keys. The loop acts on it between two frames, when
the terminal can be restored.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from .keyboard import Keyboard

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HANDLED = (*END_SIGNALS, signal.SIGTSTP, signal.SIGWINCH)


class Screen:
    """The terminal of standard output, and the keys of standard input where that is a terminal, too."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._keyboard = Keyboard(sys.stdin.fileno()) if sys.stdin is not None and sys.stdin.isatty() else None
        self._received: list[int] = []
        self._stack = contextlib.ExitStack()

    @property
    def size(self) -> tuple[int, int]:
        """The present number of columns and lines; the environment has only those of the start."""
        from rich.console import ConsoleDimensions

        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        self._console.size = ConsoleDimensions(max(1, columns), max(1, lines))
        return columns, lines

    def __enter__(self) -> Screen:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stack.callback(os.close, self._wake)
        try:
            for number in _HANDLED:
                self._stack.callback(signal.signal, number, signal.signal(number, self._note))
            self._acquire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._restore()

    def draw(self, frame: RenderableType) -> None:
        if self._live is not None:
            self._live.update(frame, refresh=True)

    def wait(self, seconds: float) -> list[str]:
        """The keys that come within so many seconds. Returns early where a signal comes."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._keyboard is not None:
            poll.register(self._keyboard.descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._keyboard is not None and self._keyboard.descriptor in ready:
            return self._keyboard.read()
        return []

    def ended_by(self) -> int | None:
        """The signal that asks to end, if one came. Also acts on the others: Ctrl-Z restores the terminal and stops the
        program until it is continued."""
        received, self._received = self._received, []
        for number in received:
            if number in END_SIGNALS:
                return number
        if signal.SIGTSTP in received:
            self._stop()
        return None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        os.eventfd_write(self._wake, 1)

    def _acquire(self) -> None:
        from rich.live import Live

        if self._keyboard is not None:
            self._keyboard.__enter__()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _restore(self) -> None:
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        except OSError:
            # The terminal was closed, so there is nothing to restore.
            pass
        finally:
            if self._keyboard is not None:
                self._keyboard.__exit__(None, None, None)

    def _stop(self) -> None:
        self._restore()
        # The default action stops the process, except in an orphaned group, which no shell could continue (setpgid(2)).
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._acquire()
