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


def locate(name: str, path: str | os.PathLike[str] | None) -> Path:
    """The folder of a registry: `path`, or ``<base>/<name>``.

    The base is ``$ADSUM_DIR``, else ``$XDG_RUNTIME_DIR/adsum``, else ``/dev/shm/adsum-<uid>``.
    """
    if path is not None:
        return Path(os.path.abspath(_plain(path)))
    if not _can_name_a_folder(name):
        raise InvalidName(f"{name!r} cannot name a registry: use a plain folder name, or path= for a folder of its own")
    return base() / name


def _plain(path: object) -> str:
    """A path as text. Errors: `InvalidName`, also for an empty path, which would be the current folder."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else b""
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidName(f"path={path!r}: give the path of a folder of its own for the registry")
    return text


def _can_name_a_folder(name: object) -> bool:
    if not isinstance(name, str) or not name or name in (".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(os.fsencode(name)) <= 255
    except UnicodeEncodeError:
        return False


def base() -> Path:
    """The folder that holds this user's registries."""
    if chosen := os.environ.get("ADSUM_DIR"):
        return Path(os.path.abspath(chosen))
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(os.path.abspath(runtime)) / "adsum"
    return Path(f"/dev/shm/adsum-{os.geteuid()}")


def check(folder: Path) -> bool:
    """Whether the folder exists. Errors: `PermissionDenied` unless it belongs to this user alone."""
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
    if found.st_mode & 0o077 and _holds_other_files(folder):
        raise PermissionDenied(
            f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):04o}) and holds no registry; give the path "
            "of a folder that is yours alone, or of one that is not there yet"
        )
    if found.st_mode & 0o077:
        raise PermissionDenied(
            f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 700 '{folder}'"
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


def _holds_other_files(folder: Path) -> bool:
    """Whether the folder has files, but none of a registry. Then chmod would be bad advice."""
    try:
        return any(folder.iterdir()) and not any((folder / name).is_file() for name in ("starting", "lock"))
    except OSError as error:
        reraise_foreign(error)
        return False


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
