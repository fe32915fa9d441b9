"""The gate of a program: a process waits there, with a pid under which it can be registered, before it executes.

So a program whose registration fails never runs, and none can end before it is registered; `exec` keeps the process,
and with it the entry. The gate is the read end of a pipe. It opens with a byte; where the write end is closed without
one, even because its holder was killed, the process ends and has run nothing.

`adsum run` forks a process to the gate. The tests of a program with threads start this file as a program, which needs
nothing but the standard library: ``python program_gate.py WAITING FAILED COMMAND...``, with two descriptors.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import AnyStr

__all__ = ["NOT_EXECUTABLE", "NOT_FOUND", "OPEN", "execute", "is_opened", "what_is_missing"]

# What is written into the pipe to open the gate.
OPEN = b"!"
# The exit codes of shells and env(1) for a command that cannot be started.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
# linux/include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
# Found before the fork: the child of a process with threads may take no lock of the loader.
_prctl = ctypes.CDLL(None).prctl
# The kernel reads this much of the first line of a script, and takes the interpreter from it
# (linux/fs/binfmt_script.c).
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n\0]+)")
_LONGEST_FIRST_LINE = 256


def is_opened(waiting: int, parent: int | None = None) -> bool:
    """Wait until the gate opens, or is given up. Then the kernel kills this process when the process `parent` ends;
    also False where that has ended already.

    The kernel means the thread that forked: the only one of `adsum run` (PR_SET_PDEATHSIG, prctl(2)).

    >>> waiting, gate = os.pipe()
    >>> written = os.write(gate, adsum.program_gate.OPEN)
    >>> adsum.program_gate.is_opened(waiting)
    True
    >>> os.close(gate), adsum.program_gate.is_opened(waiting), os.close(waiting)
    (None, False, None)
    """
    if os.read(waiting, 1) != OPEN:
        return False
    if parent is None:
        return True
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    return os.getppid() == parent


def execute(command: Sequence[AnyStr], mask: set[signal.Signals | int], environment: Mapping[AnyStr, AnyStr]) -> None:
    """Become the program, with this mask of blocked signals and this environment.

    Errors: `OSError`; `ValueError` for a word that no program can be given.

    >>> code = "from adsum.program_gate import execute; execute(['/bin/echo', 'it', 'runs'], set(), {})"
    >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    'it runs\\n'
    """
    # Python ignores these signals from its start, and exec would keep that (`subprocess` restores them, too).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # Signals that are pending from the gate are delivered now, and act as they would on the command.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.execvpe(command[0], tuple(command), environment)


def what_is_missing(program: str) -> str:
    """What ENOENT of execve(2) refers to: the program itself, or the interpreter that it names.

    >>> adsum.program_gate.what_is_missing("/no/such/program")
    'command not found'
    """
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


def _main() -> None:
    """Wait at the gate, and execute the command. Where that fails, the number of the error is written to FAILED;
    nothing is where it succeeds."""
    waiting, failed, *command = sys.argv[1:]
    for descriptor in (int(waiting), int(failed)):
        os.set_inheritable(descriptor, False)
    # As it was: Python itself may have set a locale in it (PEP 538).
    words = Path("/proc/self/environ").read_bytes().split(b"\0")
    environment = dict(word.split(b"=", 1) for word in words if b"=" in word[1:])
    if not is_opened(int(waiting)):
        sys.exit(NOT_EXECUTABLE)
    try:
        execute([os.fsencode(word) for word in command], signal.pthread_sigmask(signal.SIG_BLOCK, ()), environment)
    except OSError as error:
        os.write(int(failed), str(error.errno).encode())
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


if __name__ == "__main__":
    _main()
