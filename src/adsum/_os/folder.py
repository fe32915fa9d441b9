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

from ..errors import PermissionDenied


def check(folder: Path) -> bool:
    """Whether the folder exists. Errors: `PermissionDenied` unless it belongs to this user alone."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _denied(folder, error) from error
    if stat.S_ISLNK(found.st_mode):
        try:
            found = os.stat(folder)
        except OSError as error:
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
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _denied(folder, error) from error
    check(folder)


def _holds_other_files(folder: Path) -> bool:
    """Whether the folder has files, but none of a registry. Then chmod would be bad advice."""
    with contextlib.suppress(OSError):
        return any(folder.iterdir()) and not any((folder / name).is_file() for name in ("starting", "lock"))
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
