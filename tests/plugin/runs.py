"""Real runs of pytest, in a process of their own and an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

_PID = re.compile(r"\bpid (\d+)\b")


class Run(NamedTuple):
    """How a run of pytest ended."""

    returncode: int
    output: str

    def expect(self, summary: str) -> None:
        """Check pytest's last line, without its time."""
        last = self.output.strip().splitlines()[-1]
        assert re.fullmatch(rf"(=+ )?{summary} in .*", last), self.output

    def pids(self) -> list[int]:
        """The pids that it names, each once."""
        return list(dict.fromkeys(map(int, _PID.findall(self.output))))


class Project:
    """A folder with tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, **files: str) -> None:
        """Write Python files; the names are without their suffix."""
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(textwrap.dedent(text))

    def command(self, *arguments: str) -> list[str]:
        """A run of pytest with warnings as errors."""
        return [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Run:
        """Run all tests of the folder."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        return Run(done.returncode, done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    # Without it, pytest would take the configuration of the folders above.
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return Project(tmp_path)
