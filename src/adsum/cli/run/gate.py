"""A child process that has a pid before it runs its command.

`adsum run` registers the process first and starts the command second. So a command whose registration fails never runs,
and no command can end before it is registered. The child is forked, waits at a gate (the read end of a pipe), and
executes the command when the gate opens; `exec` keeps the process, and with it the entry. If the write end is closed
before a byte came, even because `adsum run` was killed, the child exits and has run nothing.

After that the kernel ends the command when `adsum run` is killed (PR_SET_PDEATHSIG, prctl(2)), unless the user wants it
to outlive it. The setting survives `exec`, but not that of a program with set-user-ID or capabilities.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .mark import marked_environment

_OPEN = b"!"
# The exit codes of shells and env(1) for a command that cannot be started.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
_STANDARD_ERROR = 2
# linux/include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
# Found before the fork: the child of a process with threads may take no lock of the loader.
_prctl = ctypes.CDLL(None).prctl
# The kernel reads this much of the first line of a script, and takes the interpreter from it
# (linux/fs/binfmt_script.c).
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n\0]+)")
_LONGEST_FIRST_LINE = 256


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
            os.write(self._gate, _OPEN)
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
        if os.read(waiting, 1) == _OPEN and (parent is None or _die_with(parent)):
            _exec(command, mask, environment)
    except FileNotFoundError:
        code = NOT_FOUND
        _print(f"adsum: {command[0]}: {_what_is_missing(command[0])}")
    except (OSError, ValueError) as error:
        _print(f"adsum: cannot run {command[0]}: {getattr(error, 'strerror', None) or error}")
    finally:
        os._exit(code)


def _die_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends. False where that has ended already.

    The kernel means the thread that forked: the only one of `adsum run`.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    return os.getppid() == parent


def _exec(command: Sequence[str], mask: set[signal.Signals | int], environment: Mapping[str, str]) -> None:
    # Python ignores these signals from its start, and exec would keep that (`subprocess` restores them, too).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # Signals that are pending from the gate are delivered now, and act as they would on the command.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.execvpe(command[0], tuple(command), environment)


def _what_is_missing(program: str) -> str:
    """What ENOENT of execve(2) refers to: the program itself, or the interpreter that it names."""
    path = program if "/" in program else shutil.which(program)
    if path is None or not Path(path).exists():
        return "command not found"
    try:
        with Path(path).open("rb") as file:
            named = _INTERPRETER.match(file.readline(_LONGEST_FIRST_LINE))
    except OSError:
        # It is executable but not readable, so the interpreter is unknown.
        named = None
    interpreter = os.fsdecode(named[1]) if named else None
    if interpreter and not Path(interpreter).exists():
        # Quoted, because the fault is often an invisible carriage return at the end.
        return f"its interpreter {interpreter!r} is missing; check its first line"
    return "it exists, but its loader or interpreter does not; was it built for this system?"


def _print(message: str) -> None:
    os.write(_STANDARD_ERROR, f"{message}\n".encode(errors="backslashreplace"))
