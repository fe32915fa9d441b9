"""The folder of a registry, and whether it can be trusted.

A user who can write a registry's folder can forge its entries. So before use the folder must belong to this user and
give other users no access. This holds for root as well: a registrar that root started in a user's folder would leave
files there that the user cannot open.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .._foreign import reraise_foreign
from ..errors import InvalidName, PermissionDenied

# The names that a registry's folder may have before its page is there; the tables' names end with a number, those of
# an unfinished file `cluster` with random letters.
_FILES = frozenset({
    "lock", "starting", "clients", "sessions", "socket", "socket.new", "page", "page.new", "page.replaced", "board",
    "board.new", "registrar.log", "registrar.log.1", "cluster", "bridge", "bridge.status",
    "bridge.status.new", "bridge.log", "bridge.log.1",
})  # fmt: skip


def check(folder: Path) -> bool:
    """Whether the folder exists. Errors: `PermissionDenied` unless it belongs to this user alone; `InvalidName` where
    it holds other things and no registry."""
    try:
        found = os.lstat(folder)
    except OSError as error:
        reraise_foreign(error)
        if isinstance(error, FileNotFoundError):
            return False
        raise _denied(folder, error) from error
    if stat.S_ISLNK(found.st_mode):
        try:
            found = os.stat(folder)
        except OSError as error:
            reraise_foreign(error)
            raise _denied(folder, error) from error
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionDenied(f"{folder} is no folder; give another path")
    if found.st_uid != os.geteuid():
        raise PermissionDenied(
            f"{folder} belongs to user {found.st_uid}, you are {os.geteuid()}; use a registry of your own "
            "(set ADSUM_DIR, or give path=), or run as that user"
        )
    if found.st_mode & 0o077 and _other_file(folder):
        raise PermissionDenied(
            f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):04o}) and holds no registry; give the path "
            "of a folder that is yours alone, or of one that is not there yet"
        )
    if found.st_mode & 0o077:
        raise PermissionDenied(
            f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 700 '{folder}'"
        )
    if other := _other_file(folder):
        raise InvalidName(
            f"{folder} holds no registry but other things ({other} for one), and was not touched; give the path of a "
            "folder that is empty, or of one that is not there yet"
        )
    return True


def create(folder: Path) -> None:
    """Make the folder, private to this user, with the base folder above it. Two processes may do so at once."""
    try:
        _make_base(folder.parent)
        make(folder)
    except OSError as error:
        reraise_foreign(error)
        raise _denied(folder, error) from error
    check(folder)


def _other_file(folder: Path) -> str:
    """The name of a file that is none of a registry's, in a folder that holds no registry; else empty."""
    if all(_is_file(folder / name) for name in ("lock", "page")):
        return ""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reraise_foreign(error)
        return ""
    return next((name for name in names if name not in _FILES and not name.startswith(("tables.", "cluster."))), "")


def _is_file(path: Path) -> bool:
    """As `Path.is_file`, which can swallow what a signal handler raises."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        reraise_foreign(error)
        return False


def make(folder: Path, mode: int = 0o700) -> None:
    """Make a folder, private to this user, unless there is one. (`Path.mkdir` can swallow what a handler raises.)"""
    try:
        os.mkdir(folder, mode)
    except FileExistsError as error:
        reraise_foreign(error)


def _make_base(base: Path, mode: int = 0o700) -> None:
    try:
        make(base, mode)
    except FileNotFoundError as error:
        reraise_foreign(error)
        _make_base(base.parent, 0o777)
        make(base, mode)


def real_path(folder: Path) -> str:
    """The path without symbolic links, also where the folder is not there yet. (`os.path.realpath` alone can swallow
    what a signal handler raises.)"""
    try:
        return os.path.realpath(folder, strict=True)
    except OSError as error:
        reraise_foreign(error)
        return os.path.join(real_path(folder.parent), folder.name)


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A short path to a folder: a socket's address holds 107 bytes (unix(7)), a folder's path may be longer."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _denied(folder: Path, error: OSError) -> PermissionDenied:
    return PermissionDenied(
        f"cannot use the registry folder {folder}: {error.strerror}; set ADSUM_DIR or give path= to a folder you own"
    )
