"""Programs that are members of a test: registered before they run, and ended with the process of the test.

A program waits at the gate of `adsum.program_gate`, as that of `adsum run` does, until it is registered. A watcher, one
process for all of them in a test, ends them where the process of the test is killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from .. import program_gate
from .._os.forking import no_fork_during

_GATE = str(Path(program_gate.__file__).resolve())
_WATCHER = str(Path(__file__).resolve().with_name("watch_program.py"))


def python(file: str) -> list[str]:
    """An interpreter that runs a file of the standard library alone, and starts quickly."""
    return [sys.executable, "-I", "-S", file]


def popen(
    command: Sequence[str], stdin: int | None = None, stdout: int | None = None, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a process of a test."""
    # A process group of its own: Ctrl-C at a terminal does not reach it.
    return no_fork_during(subprocess.Popen, command, stdin=stdin, stdout=stdout, process_group=0, pass_fds=pass_fds)


class HeldProgram:
    """A process that executes its program when it is released. `release` or `abandon` it."""

    def __init__(self, command: Sequence[str]) -> None:
        words = [command] if isinstance(command, str) else [os.fspath(word) for word in command]
        if not words:
            raise ValueError("command=[]: give a program and its arguments")
        self._name = words[0]
        no_fork_during(self._start, words)

    def _start(self, words: list[str]) -> None:
        waiting, self._gate = os.pipe()
        self._report, failed = os.pipe()
        try:
            start = [*python(_GATE), str(waiting), str(failed), *words]
            self.process = popen(start, pass_fds=(waiting, failed))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(waiting)
            os.close(failed)

    def release(self) -> None:
        """Let it execute, and wait until it has. Errors: `OSError` where it cannot."""
        try:
            # Where it was killed at the gate, its end is seen as any other.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._gate, program_gate.OPEN)
            number = os.read(self._report, 16)
        finally:
            self._close()
        if number:
            raise OSError(int(number), os.strerror(int(number)), self._name)

    def abandon(self) -> None:
        """Kill it, and reap it."""
        self._close()
        self.process.kill()
        self.process.wait()

    def _close(self) -> None:
        for descriptor in {self._gate, self._report} - {-1}:
            os.close(descriptor)
        self._gate = self._report = -1


class Watcher:
    """Ends programs where this process is killed. Close it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """End this child of the process, too, from now on."""
        if self._process is None:
            self._process = popen([*python(_WATCHER), str(os.getpid())], subprocess.PIPE, subprocess.PIPE)
        stdin, stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        stdin.write(b"%d\n" % pid)
        stdin.flush()
        if not stdout.readline():
            raise AssertionError(f"the watcher of the test's programs has ended with {self._process.wait()}")

    def close(self) -> None:
        """End what is watched and has not ended."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
