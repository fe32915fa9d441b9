"""The file ``registrar.log`` in a registry's folder: the log of its registrars, and their standard error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from .._foreign import reraise_foreign

NAME = "registrar.log"
MAX_BYTES = 256 * 1024
_TAIL_BYTES = 4096
_TAIL_LINES = 3


def open_to_append(folder: Path) -> BinaryIO:
    """The log, or /dev/null: better a registrar without a log than none. `adsum doctor` reports a missing log.

    A registrar rotates its log. Processes that fail to become one write here too, so a large file is put aside here.
    """
    path = folder / NAME
    try:
        put_aside_if_large(path)
        return open(path, "ab", opener=open_privately)
    except OSError as error:
        reraise_foreign(error)
        return open(os.devnull, "ab")


def put_aside_if_large(path: Path) -> None:
    """Let a log of `MAX_BYTES` and more become ``PATH.1``, in place of an older one. One that cannot be moved grows on:
    better a large log than none."""
    try:
        if os.stat(path).st_size >= MAX_BYTES:
            path.rename(path.with_name(f"{path.name}.1"))
    except OSError as error:
        reraise_foreign(error)


def open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def last_lines(folder: Path, since: int) -> str:
    """The last lines written after the offset `since`, joined to one; empty where there is none."""
    try:
        with open(folder / NAME, "rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(since, end - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode(errors="replace")
    except OSError as error:
        reraise_foreign(error)
        return ""
    return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-_TAIL_LINES:])
