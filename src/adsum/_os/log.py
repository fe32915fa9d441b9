"""The log of a registrar, and the file that a registrar's and a bridge's log goes to.

A registrar does without `logging`, which brings `traceback`, `tokenize` and `string` with it: a twentieth of its start,
which a client waits for, and of its memory (`docs/decisions/0062-start-of-a-registrar.md`).
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Protocol

from .log_file import MAX_BYTES, open_privately, put_aside_if_large


class Output(Protocol):
    """A text stream, such as `RotatedFile` and standard error."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


def utc(seconds: float) -> str:
    """A time of the wall clock for a log. Not local: each registrar and bridge has the time zone of the process that
    has started it, and one log has the lines of several."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{when}.{int(seconds % 1 * 1000):03d}Z"


class Log:
    """Lines with the time (`utc`), the process and the level. Arguments are put into the message with
    ``%``. An output that fails stops no caller: the line goes to standard error. `output` is None in a process that has
    no standard error; then lines go nowhere."""

    def __init__(self, output: Output | None) -> None:
        self._output = output

    def info(self, message: str, *arguments: object) -> None:
        self._write("INFO", message % arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self._write("WARNING", message % arguments)

    def error(self, message: str, *arguments: object) -> None:
        self._write("ERROR", message % arguments)

    def exception(self, message: str, *arguments: object) -> None:
        """An error, with the traceback of the exception that is being handled."""
        import traceback  # Only a defect of ours needs it.

        self._write("ERROR", f"{message % arguments}\n{traceback.format_exc().rstrip()}")

    def _write(self, level: str, text: str) -> None:
        line = f"{utc(time.time())} {os.getpid()} {level} {text}\n"
        try:
            if self._output is not None:
                self._output.write(line)
                self._output.flush()
        except OSError as error:
            _report(f"the log cannot be written ({error}): {line}")


def _report(line: str) -> None:
    try:
        # None where the process has no standard error.
        if sys.stderr is not None:
            sys.stderr.write(line)
    except OSError:
        # There is no place left to say it.
        pass


class RotatedFile:
    """Appends to `path`. A file of `MAX_BYTES` and more becomes ``PATH.1`` before the next line. Errors: `OSError`
    where it cannot be opened, at first or after that; the next line tries again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._opened()

    def write(self, text: str) -> None:
        """Write a line, or several that belong together."""
        # Standard error of the same process, and of others, is appended to the file too.
        if self._file.closed or os.fstat(self._file.fileno()).st_size >= MAX_BYTES:
            self._file.close()
            put_aside_if_large(self._path)
            self._file = self._opened()
        self._file.write(text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Nothing: each `write` is a system call."""

    def close(self) -> None:
        self._file.close()

    def _opened(self) -> io.FileIO:
        return open(self._path, "ab", buffering=0, opener=open_privately)
