"""The location of a user's registries: one and the same in every environment.

A login shell, cron, su, a service, and a process that outlives the logout of its user have different environment
variables. So the default location follows from the number of the user and from what exists, and from no variable but
``ADSUM_DIR``, with which a user chooses another.

`/dev/shm` comes first, because it is there for every process and at any time. `/run/user/UID` exists only while the
user is logged in or lingers (pam_systemd(8)), and is hidden from a service with ProtectHome= (systemd.exec(5)). A
registry that lives there is still found: earlier versions of adsum made them there.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os.liveness import is_running
from ..errors import AdsumError, InvalidName
from . import page as pages

# The possible locations, the best first.
DEFAULT_LOCATIONS = ("/dev/shm/adsum-{uid}", "/run/user/{uid}/adsum")


def base() -> Path:
    """The folder that holds this user's registries: ``$ADSUM_DIR``, else the first default location that can be
    used."""
    if chosen := os.environ.get("ADSUM_DIR"):
        return Path(os.path.abspath(chosen))
    locations = _default_locations()
    return next((location for location in locations if _is_usable(location)), locations[0])


def locate(name: str, path: str | os.PathLike[str] | None) -> Path:
    """The folder of a registry: `path`, or ``<base>/<name>``. A registry that lives in another default location has
    priority over an absent one. Errors: `InvalidName`."""
    if path is not None:
        return Path(os.path.abspath(_plain(path)))
    if not _can_name_a_folder(name):
        raise InvalidName(f"{name!r} cannot name a registry: use a plain folder name, or path= for a folder of its own")
    folder = base() / name
    others = elsewhere(folder)
    return others[0] if others and not _is_living(folder) else folder


def elsewhere(folder: Path) -> list[Path]:
    """The registries of the same name that live in the other default locations; none where the user chose the
    location."""
    locations = _default_locations()
    if os.environ.get("ADSUM_DIR") or folder.parent not in locations:
        return []
    others = [location / folder.name for location in locations if location != folder.parent]
    return [other for other in others if _is_living(other)]


def describe_others(folder: Path) -> str:
    """Where the registries of the same name live in the other default locations, and how to choose one of them; empty
    where there is none."""
    others = elsewhere(folder)
    if not others:
        return ""
    where = ", ".join(map(str, others))
    return f"another registry of this name lives in {where}; ADSUM_DIR={shlex.quote(str(others[0].parent))} chooses it"


def _default_locations() -> list[Path]:
    return [Path(location.format(uid=os.geteuid())) for location in DEFAULT_LOCATIONS]


def _is_usable(location: Path) -> bool:
    return _is_folder(location) or os.access(location.parent, os.W_OK | os.X_OK)


def _is_folder(location: Path) -> bool:
    """As `Path.is_dir`, which can swallow what a signal handler raises."""
    try:
        return stat.S_ISDIR(os.stat(location).st_mode)
    except OSError as error:
        reraise_foreign(error)
        return False


def _is_living(folder: Path) -> bool:
    """Whether a registry is there that has entries or a running registrar, and that this process may use."""
    try:
        if not folders.check(folder):
            return False
        page = pages.peek(folder)
    except (AdsumError, PermissionError) as error:
        reraise_foreign(error)
        return False
    return page is not None and (page.entries > 0 or is_running(page.registrar))


def _plain(path: object) -> str:
    """A path as text. Errors: `InvalidName`, also for an empty path, which would be the current folder."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else b""
    if not isinstance(text, str) or not text or "\0" in text or not _is_encodable(text):
        raise InvalidName(f"path={path!r}: give the path of a folder of its own for the registry")
    return text


def _can_name_a_folder(name: object) -> bool:
    if not isinstance(name, str) or not name or name in (".", "..") or "/" in name or "\0" in name:
        return False
    return _is_encodable(name) and len(os.fsencode(name)) <= 255


def _is_encodable(text: str) -> bool:
    """Whether the text can be the name of a file. It may have surrogates for bytes that are no UTF-8, and no others."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
