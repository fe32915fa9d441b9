"""A pseudo-terminal without a user: the test reads what a program shows there, and types keys."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

from tests.support import WITHIN


class Terminal:
    """Runs a program as the leader of a session, with this terminal as its controlling terminal."""

    def __init__(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 40,
        *,
        echo: bool = True,
    ) -> None:
        """Without `echo`, typed keys are not shown, so they never come between two parts of a program's output."""
        self._keys, screen = os.openpty()
        self.resize(columns, lines)
        if not echo:
            modes = termios.tcgetattr(screen)
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(screen, termios.TCSANOW, modes)
        self.modes_at_first = self.modes()
        try:
            self.process = subprocess.Popen(
                ["setsid", "--ctty", *program], stdin=screen, stdout=screen, stderr=screen, env=environment
            )
        finally:
            os.close(screen)
        self.shown = ""

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, as when the user drags the window; the kernel notifies the programs (SIGWINCH)."""
        fcntl.ioctl(self._keys, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def modes(self) -> list[object]:
        """The terminal's modes: echo, line mode and so on."""
        return termios.tcgetattr(self._keys)

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def read(self) -> str:
        """Everything shown until the program ends."""
        while self._more(WITHIN):
            continue
        return self.shown

    def expect(self, text: str, times: int = 1) -> None:
        """Wait until `text` has been shown so many times."""
        until = time.monotonic() + WITHIN
        while self.shown.count(text) < times:
            if not self._more(max(0.0, until - time.monotonic())):
                raise AssertionError(f"{text!r} was not shown {times} times in {self.shown!r}")

    def skip(self, text: str) -> None:
        """Wait until `text` has been shown, and forget everything up to it."""
        self.expect(text)
        self.shown = self.shown.partition(text)[2]

    def hang_up(self) -> None:
        """Close the terminal, as when the user closes its window."""
        os.close(self._keys)
        self._keys = -1

    def close(self) -> None:
        if self._keys >= 0:
            self.hang_up()
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _more(self, within: float) -> bool:
        if not select.select([self._keys], [], [], within)[0]:
            return False
        try:
            part = os.read(self._keys, 65536)
        except OSError:
            # EIO: the other end is closed (pty(7)).
            return False
        self.shown += part.decode(errors="replace")
        return bool(part)
