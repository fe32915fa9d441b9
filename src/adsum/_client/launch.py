"""Which program a registrar is started with, and in which environment.

As in `multiprocessing`, it is the Python that runs this process. A frozen program and a program that embeds Python are
no Python: run again, they would be a second copy of themselves. For these the user names a Python, or the program calls
`adsum.freeze_support`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .._foreign import reraise_foreign
from .._os.start_arguments import BOOT
from ..errors import RegistrarUnavailable
from ..model import Limits

REMEDY = "set ADSUM_PYTHON, or registrar_command= of open(), to a Python that has adsum, or run: adsum registrar"
_PACKAGES = ("adsum", "lmdb", "msgspec")
_CLUSTER_PACKAGES = ("grpc", "google.protobuf")
_BRIDGE_BOOT = "import sys; sys.path += sys.argv[1:-5]; from adsum._bridge.__main__ import main; main()"
_PYTHON_NAMES = ("python", "pypy")
# All that a registrar gets of its starter's environment. The rest does not concern it and may harm it: variables of
# debuggers and measuring tools that follow child processes, PYTHONPATH, LD_PRELOAD, secrets.
_KEPT = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"})
_KEPT_PREFIXES = ("ADSUM_", "LC_")
# A registrar outlives its starter, and is no orphan of the `adsum run` that this comes from.
_DROPPED = "ADSUM_RUN"
_can_serve = False


class Launch(NamedTuple):
    """How a client starts a registrar: `limits` for a registry that has to be made, and the user's own `command`."""

    limits: Limits
    command: tuple[str, ...] | None = None


def parse_command(command: object) -> tuple[str, ...] | None:
    """A checked `registrar_command`. Errors: `TypeError`, `ValueError`."""
    if command is None:
        return None
    if not isinstance(command, (list, tuple)) or not all(isinstance(word, str) for word in command):
        raise TypeError(f"registrar_command={command!r}: give a list of strings, such as ['/usr/bin/python3']")
    if not command or not command[0] or any("\0" in word for word in command):
        raise ValueError(f"registrar_command={command!r}: name a program first, and use no NUL character")
    return tuple(command)


def allow_frozen() -> None:
    """From now on this frozen program can be started again as a registrar: it calls `adsum.freeze_support` first."""
    global _can_serve
    _can_serve = True


def command_line(command: Sequence[str] | None) -> list[str]:
    """The command that becomes a registrar, given the arguments of `start_arguments`.

    Errors: `RegistrarUnavailable` where there is no Python that could run one.
    """
    chosen = command or tuple(filter(None, [os.environ.get("ADSUM_PYTHON")]))
    if getattr(sys, "frozen", False):
        if chosen:
            # The packages in a frozen program fit no other Python.
            return [*chosen, "-I", "-c", BOOT]
        if not _can_serve:
            raise RegistrarUnavailable(
                f"{sys.executable} is a frozen program, so it cannot run a registrar by itself: call "
                f"adsum.freeze_support() first in the program, or {REMEDY}"
            )
        return [sys.executable]
    if chosen:
        # This Python may have packages of its own, so it gets its site folder.
        return [*chosen, "-I", "-c", BOOT, *package_folders()]
    # -I -S: the environment, the site folder and the .pth files of the starter do not concern a registrar, and cost
    # time. -I without -E (-P -s) where Python finds its own library through PYTHONHOME alone.
    isolated = ["-P", "-s"] if _home() else ["-I"]
    return [_own_python(), *isolated, "-S", "-c", BOOT, *package_folders()]


def bridge_command(command: Sequence[str] | None) -> list[str]:
    """The command that becomes a bridge, given the arguments of `adsum._bridge.__main__`. It needs the site folder of
    this Python, where grpcio is. Errors: `RegistrarUnavailable` where there is no Python that could run one."""
    chosen = command or tuple(filter(None, [os.environ.get("ADSUM_PYTHON")])) or (_own_python(),)
    return [*chosen, "-I", "-c", _BRIDGE_BOOT, *package_folders((*_PACKAGES, *_CLUSTER_PACKAGES))]


def environment() -> dict[str, str]:
    """The environment of a registrar."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    kept.pop(_DROPPED, None)
    if home := _home():
        kept["PYTHONHOME"] = home
    if getattr(sys, "frozen", False):
        # PyInstaller's loader points this at the program's own libraries, and keeps the user's value beside it.
        kept.pop("LD_LIBRARY_PATH", None)
        if original := os.environ.get("LD_LIBRARY_PATH_ORIG"):
            kept["LD_LIBRARY_PATH"] = original
    return kept


@contextlib.contextmanager
def undebugged() -> Iterator[None]:
    """pydevd, the debugger of debugpy, PyCharm and VS Code, starts each Python child under the debugger too, where it
    may wait for an editor for ever. Inside this block it does not; its own adapter is started in the same way."""
    skip = getattr(sys.modules.get("_pydev_bundle.pydev_monkey"), "skip_subprocess_arg_patch", None)
    with skip() if skip is not None else contextlib.nullcontext():
        yield


def _home() -> str | None:
    """PYTHONHOME, where this process takes its standard library from there."""
    home = os.environ.get("PYTHONHOME")
    if not home or sys.flags.ignore_environment:
        return None
    prefix = home.partition(":")[0]
    return home if os.path.realpath(prefix) == os.path.realpath(sys.base_prefix) else None


def _own_python() -> str:
    """The Python that runs this process. A program that embeds Python may be `sys.executable` itself, or leave it
    empty; then it is the Python to which the standard library in use belongs."""
    if sys.executable and not _is_embedding(sys.executable):
        return sys.executable
    spawn = sys.modules.get("multiprocessing.spawn")
    named = getattr(spawn, "get_executable", str)() or ""
    beside = f"{sys.base_exec_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (os.fsdecode(named), getattr(sys, "_base_executable", None), beside):
        if path and os.access(path, os.X_OK) and not _is_embedding(path):
            return path
    raise RegistrarUnavailable(f"this program embeds Python, and there is no Python to run a registrar; {REMEDY}")


def _is_embedding(path: str) -> bool:
    """Whether `path` is the program that runs this process, and is no Python by its name."""
    if os.path.basename(os.path.realpath(path)).startswith(_PYTHON_NAMES):
        return False
    try:
        return os.path.samefile(path, "/proc/self/exe")
    except OSError as error:
        reraise_foreign(error)
        return False


def package_folders(packages: Sequence[str] = _PACKAGES) -> list[str]:
    found: list[str] = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            parent = os.path.dirname(os.path.abspath(location))
            if parent not in found:
                found.append(parent)
    return found
