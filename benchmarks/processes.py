"""Processes for benchmarks: each a fresh interpreter that does one thing and says when."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType


class Script:
    """Python code in a process of its own, with a line protocol over its pipes. Killed at the end of the block."""

    def __init__(self, code: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def line(self) -> str:
        """The next line the process prints."""
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the benchmark's process ended early with {self._process.wait()}")
        return line.strip()

    def say(self, text: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


OWNER = """
import sys, adsum, time
registry = adsum.open(path=sys.argv[1], timeout=60)
first, last = int(sys.argv[2]), int(sys.argv[3])
for start in range(first, last, 500):
    registry.register_many([
        (f"agent-{n:07}", {
            "capabilities": {f"skill-{n * 1000 // int(sys.argv[4])}", "worker"},
            "endpoint": f"http://127.0.0.1:{9000 + n % 1000}",
        })
        for n in range(start, min(start + 500, last))
    ])
print("ready", flush=True)
sys.stdin.readline()
"""
