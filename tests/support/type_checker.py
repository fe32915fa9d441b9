"""mypy, as a user runs it on a program that uses adsum."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def mypy(folder: Path, *options: str) -> list[str]:
    """The errors that `mypy --strict` finds in the files of a folder, as a user would run it there."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", ".cache", *options, "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]
