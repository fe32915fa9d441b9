"""Agent sessions: what a file says of one, once the kernel has confirmed that the process which it names is the one.

Files are left behind by sessions that were killed, and their numbers are used again by the kernel. So a file counts
only with the process that wrote it: the start that it notes is that of the process, or, where it notes none, the file
was written after the process started. Text from a file is data: it is cut, and has no control characters.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .. import processes
from ..processes import ProcessRecord
from .formats import Format

# A file of a session has less than a thousand bytes.
MOST_BYTES = 64 * 1024
_MOST_CHARACTERS = 120
_IS_LINK = "it is a symbolic link, which is not followed; a session has a plain file"
# Dates in files have whole seconds, and the wall clock may be moved a little in between.
_SECONDS = 2.0
_PS_DATE = "%a %b %d %H:%M:%S %Y"
_UNPRINTABLE = re.compile(r"[^\S ]|[\0-\x1f\x7f-\x9f\u2028\u2029]")


class AgentSession(NamedTuple):
    """A running session: the process, and the fields with which it is registered."""

    path: Path
    process: ProcessRecord
    description: str
    version: str
    doing: str
    custom: dict[str, Any]


class Skipped(Exception):
    """A file that counts for no session; the message says why."""


def read(format: Format, path: Path) -> AgentSession:
    """The session of a file. Errors: `Skipped`; `FileNotFoundError` where it was removed."""
    content, written_at = ({}, _written_at(path)) if format.pid is None else _content(path)
    process = _process(_pid(format, path, content))
    _require_same(process, content.get(format.start) if format.start else None, written_at)
    custom = {name: _text(value) for name, key in format.custom.items() if (value := content.get(key)) is not None}
    custom.setdefault("cwd", _text(processes.working_folder(process.pid)))
    if format.folder_as is not None:
        custom[format.folder_as] = _text(path.parent.name)
    title = _text(content.get(format.title)) if format.title else ""
    return AgentSession(
        path,
        process,
        f"{format.about}: {title}" if title else format.about,
        _text(content.get(format.version)) if format.version else "",
        ": ".join(filter(None, [_text(content.get(key)) for key in format.doing])),
        {**custom, "adopted_from": str(path)},
    )


def _content(path: Path) -> tuple[dict[str, Any], float]:
    """The JSON object in a file, and the time when it was written. Errors: `Skipped`; `FileNotFoundError`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would block until it has a writer (fifo(7)).
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            _require_own(found)
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_symlink():
            raise Skipped(_IS_LINK) from error
        raise Skipped(f"it cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise Skipped(f"it has more than {MOST_BYTES} bytes")
    try:
        return msgspec.json.decode(text, type=dict[str, Any]), found.st_mtime
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Skipped(f"it is no JSON object: {error}") from error


def _written_at(path: Path) -> float:
    """When a file was written that is not read. Errors: `Skipped`; `FileNotFoundError`."""
    found = path.lstat()
    _require_own(found)
    return found.st_mtime


def _require_own(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Skipped(_IS_LINK)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        raise Skipped("it is no plain file of yours")


def _pid(format: Format, path: Path, content: dict[str, Any]) -> int:
    named = format.pid_of_name(path)
    if format.pid is None:
        if named is None:
            raise Skipped("its name has no pid")
        return named
    pid = content.get(format.pid)
    if not isinstance(pid, int) or isinstance(pid, bool) or pid < 1:
        raise Skipped(f"it has no pid under {format.pid!r}")
    if format.pid_in_name is not None and pid != named:
        raise Skipped(f"its name does not have the pid that is in it, {pid}")
    return pid


def _process(pid: int) -> ProcessRecord:
    if pid == 1:
        raise Skipped("process 1 is the first of this machine or container, and no session")
    process = processes.read(pid)
    if process is None:
        raise Skipped(f"process {pid} has ended")
    if process.user != os.getuid():
        raise Skipped(f"process {pid} is another user's")
    return process


def _require_same(process: ProcessRecord, start: Any, written_at: float) -> None:
    """Errors: `Skipped` where the process that has the number now cannot have written the file."""
    if isinstance(start, int) and not isinstance(start, bool):
        start = str(start)
    if isinstance(start, str) and start.strip().isdecimal():
        # As text: it may have more digits than Python reads.
        is_same = start.strip() == str(process.start_ticks)
    elif isinstance(start, str) and (started_at := _seconds(start)) is not None:
        is_same = abs(started_at - process.started_at) <= _SECONDS
    else:
        is_same = process.started_at <= written_at + _SECONDS
    if not is_same:
        raise Skipped(f"process {process.pid} is another one: it has the number of one that has ended")


def _seconds(date: str) -> float | None:
    """A date as ps(1) prints it, in local time, as seconds since the epoch."""
    try:
        return datetime.datetime.strptime(date.strip(), _PS_DATE).astimezone().timestamp()
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
    """A value as one short line. Errors: `Skipped` where it is no value for people."""
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        raise Skipped(f"it has {value!r:.40} where a text is expected")
    text = _UNPRINTABLE.sub(" ", str(value)).encode(errors="replace").decode()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
