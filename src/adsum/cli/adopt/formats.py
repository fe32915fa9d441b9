"""Formats: where an agent writes the files of its sessions, and what is in them. They are data, in `agents.toml`."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..options import UsageError

_OWN = Path(__file__).with_name("agents.toml")


class Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The session files of one agent. The fields are explained in ``agents.toml``."""

    about: str
    home: str
    files: str
    home_variable: str | None = None
    pid_in_name: str | None = None
    pid: str | None = None
    start: str | None = None
    title: str | None = None
    version: str | None = None
    doing: tuple[str, ...] = ()
    custom: dict[str, str] = {}
    folder_as: str | None = None

    def folder(self) -> Path:
        """The folder of the agent, for this user."""
        named = os.environ.get(self.home_variable, "").strip() if self.home_variable else ""
        return Path(named or self.home).expanduser()

    def session_files(self) -> Iterator[Path]:
        """The files that are there now, in the order of their names."""
        yield from sorted(self.folder().glob(self.files))

    def pid_of_name(self, path: Path) -> int | None:
        """The pid in the name of a file; None where the name has none."""
        found = re.fullmatch(self.pid_in_name, path.name) if self.pid_in_name else None
        return int(found[1]) if found is not None else None


def load(path: Path | None) -> dict[str, Format]:
    """The formats by the names of the agents; those of a file of the user's come on top. Errors: `UsageError`."""
    formats = _read(_OWN)
    return formats if path is None else formats | _read(path)


def _read(path: Path) -> dict[str, Format]:
    try:
        formats = msgspec.convert(tomllib.loads(path.read_text()), dict[str, Format])
        for name, format in formats.items():
            _check(name, format)
    except (OSError, ValueError, msgspec.ValidationError, re.error) as error:
        raise UsageError(f"--formats {path}: {getattr(error, 'strerror', None) or error}") from error
    return formats


def _check(name: str, format: Format) -> None:
    """Errors: `ValueError`."""
    if format.pid is None and format.pid_in_name is None:
        raise ValueError(f"[{name}] says neither pid nor pid_in_name; give one of them")
    if format.pid_in_name is not None and re.compile(format.pid_in_name).groups != 1:
        raise ValueError(f"[{name}] pid_in_name: give a regular expression with one group, the pid")
    if Path(format.files).is_absolute() or ".." in Path(format.files).parts:
        raise ValueError(f"[{name}] files: give a pattern below home")
