"""How a process learns that it is to become a registrar: from the last arguments of its command line.

    PROGRAM [-I -S -c BOOT PACKAGES ...] --adsum-registrar FOLDER LIMITS PIPE

A Python interpreter gets all of it. A program that calls `adsum.freeze_support` needs only the last four and ignores
the rest, so the same arguments suit both. `multiprocessing` starts the children of a frozen program in the same way.
"""

from collections.abc import Sequence
from typing import NamedTuple

_MARK = "--adsum-registrar"
_COUNT = 4

# The folders of adsum's packages come last on the path: nothing beside them may hide a module of the standard library.
BOOT = f"import sys; sys.path += sys.argv[1:-{_COUNT}]; from adsum._registrar.background import main; main()"


class StartArguments(NamedTuple):
    """`folder` of the registry, its `limits` as JSON, and the descriptor of the `pipe` that takes the report."""

    folder: str
    limits: str
    pipe: int

    def listed(self) -> list[str]:
        return [_MARK, self.folder, self.limits, str(self.pipe)]


def parse(arguments: Sequence[str]) -> StartArguments | None:
    """The arguments of a registrar; None for any other command line."""
    if len(arguments) <= _COUNT or arguments[-_COUNT] != _MARK or not arguments[-1].isdecimal():
        return None
    folder, limits, pipe = arguments[1 - _COUNT :]
    return StartArguments(folder, limits, int(pipe))
