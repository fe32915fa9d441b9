"""`adsum run` as a job of a shell: it stops when its program stops, and the terminal always has a foreground
process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import ADSUM, Command
from .terminal import Terminal

RUN = f"{' '.join(ADSUM)} run me --"
INNER = f"{RUN} env PS1='inner> ' bash --norc --noediting -i"

# Like an interactive shell, this program has a process group of its own and takes the terminal. It stops itself, and
# reads a line afterwards.
JOB = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
os.setpgid(0, 0)
os.tcsetpgrp(0, os.getpgrp())
print("stops", flush=True)
os.kill(os.getpid(), signal.SIGTSTP)
print("in front" if os.tcgetpgrp(0) == os.getpgrp() else "behind", flush=True)
print("got", input())
"""


@pytest.fixture
def shell(command: Command) -> Iterator[Terminal]:
    """An interactive shell in a terminal."""
    environment = {**command.environment, "PS1": "outer> ", "HISTFILE": "/dev/null", "TERM": "dumb"}
    with Terminal(["bash", "--norc", "--noediting", "-i"], environment, echo=False) as terminal:
        terminal.expect("outer> ")
        yield terminal
        terminal.type("exit 0\n")
        assert terminal.process.wait(10) == 0


def _enter(shell: Terminal, line: str) -> None:
    """Type a line, and forget what was shown before, so that the test expects only the answer."""
    shell.shown = ""
    shell.type(f"{line}\n")


def test_a_shell_can_be_suspended_in_run(shell: Terminal) -> None:
    """`suspend` in a shell under `run` gives the terminal back to the outer shell; `fg` continues the inner one."""
    _enter(shell, INNER)
    shell.expect("inner> ")
    for _ in range(2):
        _enter(shell, "suspend")
        shell.skip("Stopped")
        shell.expect("outer> ")
        _enter(shell, "fg")
        _enter(shell, "echo in $((6 * 7))")
        shell.expect("in 42")
        shell.expect("inner> ")
    _enter(shell, "exit 7")
    shell.expect("outer> ")
    _enter(shell, "echo code $?")
    shell.expect("code 7")


def test_a_job_in_the_background_waits_for_the_terminal(shell: Terminal, tmp_path: Path) -> None:
    """After `bg` the terminal stays with the shell, and the program stops again when it reads; `fg` gives it the
    terminal."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    _enter(shell, f"set -b; {RUN} {sys.executable} {script}")
    shell.skip("Stopped")
    _enter(shell, "bg")
    shell.skip("behind")
    shell.skip("Stopped")
    _enter(shell, "echo out $((6 * 7))")
    shell.expect("out 42")
    _enter(shell, "fg; echo code $?")
    shell.type("a line\n")
    shell.expect("got a line")
    shell.expect("code 0")


@pytest.mark.parametrize("where", ["", " &"])
def test_a_program_that_stops_itself_stops_run(shell: Terminal, where: str) -> None:
    """A program that stops only itself is a stopped job of the shell, in foreground and background; `fg` continues
    it."""
    _enter(shell, f"set -b; {RUN} sh -c 'kill -STOP $$; echo goes $((6 * 7))'{where}")
    shell.skip("Stopped")
    _enter(shell, "fg; echo code $?")
    shell.expect("goes 42")
    shell.expect("code 0")


def test_a_shell_started_in_the_background_gets_the_terminal_later(shell: Terminal) -> None:
    """A shell that `run` starts in the background stops when it needs the terminal, and gets it after `fg`."""
    _enter(shell, f"set -b; {INNER} &")
    shell.skip("Stopped")
    _enter(shell, "fg")
    shell.expect("inner> ")
    _enter(shell, "exit 7")
    shell.expect("outer> ")


def test_without_a_shell_a_stopped_program_is_continued(command: Command) -> None:
    """Where `run` cannot stop, because no shell could continue it, the program gets the terminal back and continues."""
    with Terminal([*ADSUM, "run", "me", "--", sys.executable, "-c", JOB], command.environment) as terminal:
        terminal.expect("stops")
        terminal.expect("in front")
        terminal.type("a line\n")
        terminal.expect("got a line")
        assert terminal.process.wait(10) == 0
