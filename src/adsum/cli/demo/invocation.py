"""How a reader of the demo's output can run the command again: by its name, or by the path where it is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def invocation() -> str:
    """``adsum`` where the shell finds this very command, else its path, relative to this folder if it is below it."""
    program = Path(sys.argv[0])
    if program.name != "adsum" or not program.exists():
        return f"{sys.executable} -m adsum.cli"
    found = shutil.which("adsum")
    if found is not None and program.samefile(found):
        return "adsum"
    path = program.absolute()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
