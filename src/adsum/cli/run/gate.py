"""A child process that has a pid before it runs its command.

`adsum run` registers the process first and starts the command second. The child is forked, and waits at a gate
(`adsum.program_gate`).

After that the kernel ends the command when `adsum run` is killed (PR_SET_PDEATHSIG, prctl(2)), unless the user wants it
to outlive it. The setting survives `exec`, but not that of a program with set-user-ID or capabilities.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ...program_gate import NOT_EXECUTABLE, NOT_FOUND, OPEN, execute, is_opened, what_is_missing
from .mark import marked_environment

_STANDARD_ERROR = 2


class GatedChild:
    """A forked child of this process that waits until it may execute `command`."""

    def __init__(self, command: Sequence[str], blocked: set[signal.Signals], *, dies_with_parent: bool) -> None:
        # Signals that come before exec stay pending for the command: none is lost, and none runs a Python handler.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        waiting, self._gate = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid() if dies_with_parent else None
        environment = marked_environment()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            _wait_and_exec(command, waiting, mask, parent, environment)
        os.close(waiting)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def release(self) -> None:
        """Let the child execute the command."""
        try:
            os.write(self._gate, OPEN)
        except BrokenPipeError:
            # The child was killed at the gate. The caller learns that when it waits for the child.
            return
        finally:
            os.close(self._gate)

    def abandon(self) -> None:
        """Kill the child, which has run nothing, and reap it."""
        os.close(self._gate)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _wait_and_exec(
    command: Sequence[str],
    waiting: int,
    mask: set[signal.Signals | int],
    parent: int | None,
    environment: Mapping[str, str],
) -> NoReturn:
    """The child's part. It exits or executes here in every case: the Python state that it inherited is the parent's."""
    code = NOT_EXECUTABLE
    try:
        if is_opened(waiting, parent):
            execute(command, mask, environment)
    except FileNotFoundError:
        code = NOT_FOUND
        _print(f"adsum: {command[0]}: {what_is_missing(command[0])}")
    except (OSError, ValueError) as error:
        _print(f"adsum: cannot run {command[0]}: {getattr(error, 'strerror', None) or error}")
    finally:
        os._exit(code)


def _print(message: str) -> None:
    os.write(_STANDARD_ERROR, f"{message}\n".encode(errors="backslashreplace"))
