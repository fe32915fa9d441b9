"""Reads single keys from a terminal, without waiting for Enter."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import select
import termios
from types import TracebackType
from typing import Any

# How long to wait for the rest of an escape sequence, over a slow line, before ESC counts as the Escape key.
SEQUENCE_SECONDS = 0.05

UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "up", "down", "page up", "page down", "home", "end"
ENTER, ESCAPE, BACKSPACE = "enter", "escape", "backspace"
# The terminal was closed.
END_OF_INPUT = "end of input"

_SEQUENCES = {
    "A": UP,
    "B": DOWN,
    "H": HOME,
    "F": END,
    "1~": HOME,
    "4~": END,
    "5~": PAGE_UP,
    "6~": PAGE_DOWN,
    "7~": HOME,
    "8~": END,
}
_SINGLE = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE, "\x1b": ESCAPE}
_LFLAG, _CC = 3, 6


class Keyboard:
    """The keys of a terminal. Inside the ``with`` block the terminal does not echo, and passes on each key at once;
    Ctrl-C and Ctrl-Z still send signals."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self.descriptor)
        mode = termios.tcgetattr(self.descriptor)
        mode[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
        mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
        _set(self.descriptor, termios.TCSANOW, mode)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            # A closed terminal has no mode to restore.
            with contextlib.suppress(termios.error):
                _set(self.descriptor, termios.TCSADRAIN, self._before)
            self._before = None

    def read(self) -> list[str]:
        """The keys that were typed, each a character or the name of a key. Call it once the descriptor is readable."""
        text = self._read_text()
        if not text:
            return [END_OF_INPUT]
        while _is_incomplete(text) and self._has_more():
            more = self._read_text()
            if not more:
                break
            text += more
        return keys_in(text)

    def _read_text(self) -> str:
        try:
            data = os.read(self.descriptor, 4096)
        except OSError:
            # EIO: the other side of the terminal was closed.
            return ""
        # An incomplete character decodes to nothing yet. NUL, which is not a key, shows that the terminal is still
        # open.
        return self._decoder.decode(data) or ("\0" if data else "")

    def _has_more(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(SEQUENCE_SECONDS * 1000))


def _set(descriptor: int, when: int, mode: list[Any]) -> None:
    while True:
        try:
            termios.tcsetattr(descriptor, when, mode)
            return
        except termios.error as error:
            # A signal interrupted the call, or SIGTTOU stopped this process in the background until it was continued.
            if error.args[0] != errno.EINTR:
                raise


def _is_incomplete(text: str) -> bool:
    """Whether the text ends inside an escape sequence: ESC, then [ or O, parameters, and a final character
    (ECMA-48)."""
    last = text.rpartition("\x1b")
    return bool(last[1]) and (last[2] in ("", "[", "O") or (last[2][0] == "[" and _final(last[2][1:]) == 0))


def _final(parameters: str) -> int:
    """The length of a sequence up to and with its final character; 0 where that is missing."""
    for length, char in enumerate(parameters, 1):
        if "@" <= char <= "~":
            return length
    return 0


def keys_in(text: str) -> list[str]:
    """The keys in the text from a terminal. Unknown sequences are left out."""
    keys: list[str] = []
    while text:
        if text[:2] in ("\x1b[", "\x1bO") and (end := _final(text[2:])):
            name = _SEQUENCES.get(text[2 : 2 + end])
            keys += [name] if name else []
            text = text[2 + end :]
            continue
        char, text = text[0], text[1:]
        if char in _SINGLE:
            keys.append(_SINGLE[char])
        elif char.isprintable():
            keys.append(char)
    return keys
