"""A log file that is put aside where it has grown large: the handler of the registrar's log and of the bridge's.

`logging.handlers` has one, and brings pickle and queue with it: a twentieth of the start of a registrar, which a client
waits for, and half a megabyte of its memory (`docs/decisions/0062-start-of-a-registrar.md`).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from .log_file import MAX_BYTES, put_aside_if_large


class RotatedLog(logging.FileHandler):
    """Appends to `path`; a file of `MAX_BYTES` and more becomes ``PATH.1`` before the next record. Errors: `OSError`
    where the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._put_aside_if_large()
            super().emit(record)
        except OSError:
            # The file cannot be made anew; the next record tries again.
            self.handleError(record)

    def _put_aside_if_large(self) -> None:
        # Standard error of the same process, and of others, is appended to the file too.
        if self.stream is not None and os.fstat(self.stream.fileno()).st_size < MAX_BYTES:
            return
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        put_aside_if_large(self._path)
