"""A child that has a pid before it runs its command.

`adsum run` must register the process first and start the command second: a command whose registration fails never
runs, and none can end before anybody knew of it. So the child is forked, waits at a gate, and becomes the command
(`exec` keeps the process, and with it the entry) when the gate opens. When the gate is dropped instead, even because
`adsum run` was killed, the child leaves without having run anything.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_OPEN = b"!"
# What shells and env(1) say of a command that cannot be started.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
_STANDARD_ERROR = 2
# How the kernel cuts the first line of a script, and how much of it it reads (linux/fs/binfmt_script.c).
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n\0]+)")
_LONGEST_FIRST_LINE = 256


class GatedChild:
    """A forked child of this process that waits to become `command`."""

    def __init__(self, command: Sequence[str], blocked: set[signal.Signals]) -> None:
        # Nothing that is sent to the child before it is the command may be lost, or handled by Python's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        waiting, self._gate = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            _wait_and_exec(command, waiting, mask)
        os.close(waiting)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def release(self) -> None:
        """Let the child become the command. Where it was killed at the gate there is nothing to let go."""
        try:
            os.write(self._gate, _OPEN)
        except BrokenPipeError:
            return
        finally:
            os.close(self._gate)

    def abandon(self) -> None:
        """End the child, which has run nothing, and wait for it."""
        os.close(self._gate)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _wait_and_exec(command: Sequence[str], waiting: int, mask: set[signal.Signals | int]) -> NoReturn:
    """The child's part. It ends here in every case, for what it inherited of Python is the parent's."""
    code = NOT_EXECUTABLE
    try:
        if os.read(waiting, 1) == _OPEN:
            _exec(command, mask)
    except FileNotFoundError:
        code = NOT_FOUND
        _say(f"adsum: {command[0]}: {_what_is_missing(command[0])}")
    except (OSError, ValueError) as error:
        _say(f"adsum: cannot run {command[0]}: {getattr(error, 'strerror', None) or error}")
    finally:
        os._exit(code)


def _exec(command: Sequence[str], mask: set[signal.Signals | int]) -> None:
    # Python ignores these from its start, and exec would hand that on (subprocess does the same).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # What was sent at the gate comes now, and ends the child as it would have ended the command.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.execvp(command[0], tuple(command))


def _what_is_missing(program: str) -> str:
    """What ENOENT meant (execve(2)): the program, or the interpreter that it asks for."""
    path = program if "/" in program else shutil.which(program)
    if path is None or not Path(path).exists():
        return "command not found"
    try:
        with Path(path).open("rb") as file:
            asked = _INTERPRETER.match(file.readline(_LONGEST_FIRST_LINE))
    except OSError:
        # Who may execute it may not read it. That something is missing is known all the same.
        asked = None
    interpreter = os.fsdecode(asked[1]) if asked else None
    if interpreter and not Path(interpreter).exists():
        # In quotes, because what is wrong is often an invisible carriage return at its end.
        return f"its interpreter {interpreter!r} is missing; see its first line"
    return "it exists, but what it needs to start does not; was it built for this system?"


def _say(message: str) -> None:
    os.write(_STANDARD_ERROR, f"{message}\n".encode(errors="backslashreplace"))
