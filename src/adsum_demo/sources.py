"""The files to work on: the Python source of a folder, or as much of the standard library as suits a demo."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

# One process takes about 3 seconds for this many, on a busy machine 10.
BUDGET_BYTES = 6_000_000
# The tests of Python itself hold files that are invalid on purpose; the other folders are not part of the library.
_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "pydoc_data", "turtledemo"}
_MODULES = ""


class NoSources(Exception):
    """The folder has no Python source."""


class Sources(msgspec.Struct, frozen=True):
    """File names below `root`, sorted. `description` says which files these are, and which were left out."""

    root: str
    names: list[str]
    size: int
    description: str


def select(folder: Path | None) -> Sources:
    """The files of `folder`, or those of the standard library within the budget. Errors: `NoSources`."""
    root = (folder or Path(sysconfig.get_path("stdlib"))).resolve()
    files = {str(path.relative_to(root)): path.stat().st_size for path in _files(root) if path.is_file()}
    if not files:
        raise NoSources(f"{root} has no Python source; give another folder")
    if folder is not None:
        return Sources(str(root), sorted(files), sum(files.values()), str(root))
    chosen = _within(files, BUDGET_BYTES)
    names = sorted(name for name in files if _package(name) in chosen)
    size = sum(files[name] for name in names)
    description = (
        f"{len(chosen - {_MODULES})} packages and the single modules of Python {sysconfig.get_python_version()}'s "
        f"standard library, {size / 1e6:.1f} of its {sum(files.values()) / 1e6:.1f} MB"
    )
    return Sources(str(root), names, size, description)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        yield from (Path(here, name) for name in names if name.endswith(".py"))


def _package(name: str) -> str:
    """The top-level package that a file belongs to. Modules without a package count as one package."""
    parts = Path(name).parts
    return parts[0] if len(parts) > 1 else _MODULES


def _within(files: dict[str, int], budget: int) -> set[str]:
    """Whole packages in order of name, each where it still fits."""
    sizes: dict[str, int] = {}
    for name, size in files.items():
        package = _package(name)
        sizes[package] = sizes.get(package, 0) + size
    chosen: set[str] = set()
    for package, size in sorted(sizes.items()):
        if size <= budget:
            budget -= size
            chosen.add(package)
    return chosen
