"""`adsum demo` as a user runs it, in a base folder of the test's own, and what remains there afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adsum
from tests.cli.terminal import Terminal
from tests.support import Child

DEMO = (sys.executable, "-m", "adsum.cli", "demo")


class Demo:
    """The command. It creates its folder in `base`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.environment = {**os.environ, "ADSUM_DIR": str(base), "NO_COLOR": "1"}

    def report(self, *arguments: str | Path, code: int = 0) -> Any:
        """Its JSON report, once it has ended with `code`."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str | Path, program: tuple[str, ...] = DEMO) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments], env=self.environment, capture_output=True, text=True, timeout=100, check=False
        )

    def start(self, *arguments: str) -> Child:
        """Start it in the background, as the leader of a process group."""
        code = "import runpy, sys; sys.argv[0] = 'adsum'; runpy.run_module('adsum.cli', run_name='__main__')"
        return Child(code, "demo", *arguments, env=self.environment, start_new_session=True)

    def folders(self) -> list[Path]:
        return list(self.base.glob("demo-*"))

    def processes(self, name: str | None = None) -> list[int]:
        """The pids of the living processes that have this base folder in their environment: all processes of the demo,
        or those of that name."""
        pids = [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and self._is_ours(pid)]
        return [pid for pid in pids if name in (None, _name_of(pid))]

    def registry(self) -> adsum.Registry:
        """The registry of the running demo."""
        (folder,) = self.folders()
        return adsum.open(path=folder / "registry", timeout=10)

    def _is_ours(self, pid: str) -> bool:
        try:
            return f"ADSUM_DIR={self.base}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            # The process has ended meanwhile.
            return False

    def end(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.base, ignore_errors=True)


def _name_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def copy_of_adsum(folder: Path) -> Path:
    """A folder of some eighty files that does not change during the tests."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(Path(adsum.__file__).parent, folder / "source", ignore=ignored))


def until_line(child: Child, words: str) -> Iterator[str]:
    """The lines that it prints, up to the first that contains `words`."""
    while True:
        line = child.line(within=60)
        yield line
        if words in line:
            return


def wait_for(terminal: Terminal, text: str, within: float = 60.0) -> None:
    """Wait until `text` is on the terminal, as long as a whole demo may take on a busy machine."""
    until = time.monotonic() + within
    while text not in terminal.shown:
        try:
            terminal.expect(text)
        except AssertionError:
            if time.monotonic() > until or terminal.process.poll() is not None:
                raise
