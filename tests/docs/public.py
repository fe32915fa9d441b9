"""What adsum documents as public: the names of the package, and the modules that the reference names."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import adsum

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference.in"


def modules() -> list[str]:
    """The dotted names of the documented modules, `adsum` first: those that a line ``@ NAME`` of the reference names,
    or names something of."""
    named = re.findall(r"^@ ([\w.]+)", REFERENCE.read_text(), re.MULTILINE)
    return sorted({"adsum", *(_module_of(name) for name in named)})


def _module_of(name: str) -> str:
    parts = name.split(".")
    if parts[0] != "adsum":
        return "adsum"
    for end in range(len(parts), 1, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            # What is above it is a class, or a module that is no package.
            found = None
        if found is not None:
            return module
    return "adsum"


def names_of(module: ModuleType) -> Iterator[str]:
    """The public names of a documented module: those in ``__all__``; without it, all that it defines itself."""
    if module is adsum:
        yield from adsum._PUBLIC
    elif hasattr(module, "__all__"):
        yield from module.__all__
    else:
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
                yield name


def load(name: str) -> ModuleType:
    """Import a documented module."""
    return importlib.import_module(name)
