"""Whether a client's session continues, according to the kernel.

Entries of threads and tasks end with the session that made them: when the client closes its registry, and when its
process calls `exec`. A registrar that serves sees the connection close. A registrar that starts later asks the kernel:
as long as a session continues, its process holds a lock on a file of the session, and the kernel releases that lock
when the descriptor closes, for whatever reason (flock(2)).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .folder import make


def _file_of(folder: Path, session: bytes) -> Path:
    return folder / "sessions" / session.hex()


def hold(folder: Path, session: bytes) -> int:
    """Begin a session. Returns the descriptor whose lock shows that it continues; a forked child closes its copy."""
    file = _file_of(folder, session)
    make(file.parent)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_shown_by(descriptor: int, folder: Path, session: bytes) -> bool:
    """Whether a registrar that looks into the folder now finds the file of this descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(_file_of(folder, session)))
    except OSError:
        return False


def is_over(folder: Path, session: bytes) -> bool:
    """Whether no process holds the session any more. If so, its file is removed."""
    try:
        descriptor = os.open(_file_of(folder, session), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    forget(folder, session)
    return True


def forget(folder: Path, session: bytes) -> None:
    """Remove the file of a session that is over."""
    _file_of(folder, session).unlink(missing_ok=True)
