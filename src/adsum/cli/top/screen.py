"""A full screen, given back as it was found, however the program that has it ends.

Signals interrupt nothing here. They are noted, and wake whoever waits for keys; what is to be done about them is done
between two frames, when the terminal can be put right.
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

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOTED = (*ENDING, signal.SIGTSTP, signal.SIGWINCH)


class Screen:
    """The terminal of standard output, and the keys of standard input where that is one too."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._keyboard = Keyboard(sys.stdin.fileno()) if sys.stdin is not None and sys.stdin.isatty() else None
        self._noted: list[int] = []
        self._stack = contextlib.ExitStack()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now, whatever the environment said when this program began."""
        from rich.console import ConsoleDimensions

        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        self._console.size = ConsoleDimensions(max(1, columns), max(1, lines))
        return columns, lines

    def __enter__(self) -> Screen:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stack.callback(os.close, self._wake)
        try:
            for number in _NOTED:
                self._stack.callback(signal.signal, number, signal.signal(number, self._note))
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._give_back()

    def draw(self, frame: RenderableType) -> None:
        if self._live is not None:
            self._live.update(frame, refresh=True)

    def wait(self, seconds: float) -> list[str]:
        """The keys that come within so many seconds; fewer seconds where a signal comes."""
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
        """The signal that asks to end, if one came. Others are attended to here: Ctrl-Z stops the program, with the
        terminal as it was before, until it is continued."""
        noted, self._noted = self._noted, []
        for number in noted:
            if number in ENDING:
                return number
        if signal.SIGTSTP in noted:
            self._stop()
        return None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
        os.eventfd_write(self._wake, 1)

    def _take(self) -> None:
        from rich.live import Live

        if self._keyboard is not None:
            self._keyboard.__enter__()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _give_back(self) -> None:
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        except OSError:
            # The terminal is gone; there is nothing to give back.
            pass
        finally:
            if self._keyboard is not None:
                self._keyboard.__exit__(None, None, None)

    def _stop(self) -> None:
        self._give_back()
        # With the default action: stop, unless no shell is there that could continue (setpgid(2), orphaned group).
        noting = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, noting)
        self._take()
