"""`adsum run` ends its program with another process: its own parent, or the member that owns it."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import Child, eventually
from tests.support.processes import is_alive, state_of

from .command import LISTENER, Command, pid_of
from .test_killed_runs import is_dead

# Runs a command in the background, as a script or an agent does, and prints its pid and its output.
_PARENT = """
import subprocess, sys
run = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
print(run.pid, flush=True)
print(run.stdout.readline().decode().strip(), flush=True)
input()
"""
# The same from a thread that has ended when the second line is printed.
_THREADED_PARENT = """
import subprocess, sys, threading
runs = []
def start():
    runs.append(subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
thread = threading.Thread(target=start)
thread.start()
thread.join()
print(runs[0].pid, flush=True)
print(runs[0].stdout.readline().decode().strip(), flush=True)
input()
"""
# Prints its pid, ignores SIGTERM and lives on.
_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", os.getpid(), flush=True)
while True:
    time.sleep(60)
"""
_SLEEPER = 'import os, time; print("ready", os.getpid(), flush=True); time.sleep(600)'


def _started(command: Command, *options: str, by: str = _PARENT, program: str = _SLEEPER) -> tuple[Child, int, int]:
    """`adsum run` in the background of another process: that one, and the pids of `adsum run` and its program."""
    words = [sys.executable, "-m", "adsum.cli", "run", "me", *options, "--", sys.executable, "-c", program]
    parent = Child(by, *words, env=command.environment)
    try:
        return parent, int(parent.line()), pid_of(parent.line())
    except BaseException:
        parent.close()
        raise


def _end(*pids: int) -> None:
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_ends_with_the_parent_of_adsum(number: signal.Signals, command: Command, members: Registry) -> None:
    """With --die-with-parent the program ends when the process that started `adsum run` is killed, and so does
    `adsum run`."""
    parent, run, program = _started(command, "--die-with-parent")
    with parent:
        assert members["me"].pid == program
        parent.signal(number)
        parent.wait()
        eventually(functools.partial(is_dead, program))
        eventually(functools.partial(is_dead, run))
    eventually(lambda: "me" not in members)


def test_without_it_the_program_lives_on(command: Command, members: Registry) -> None:
    """Without the option the program outlives the parent of `adsum run`, and stays registered."""
    parent, run, program = _started(command)
    try:
        with parent:
            parent.kill()
        assert is_alive(program)
        assert members["me"].pid == program
    finally:
        _end(run)
    eventually(functools.partial(is_dead, program))


def test_the_end_of_the_thread_that_started_it_does_not_count(command: Command, members: Registry) -> None:
    """A parent may start `adsum run --die-with-parent` from a thread that ends: the program ends with the process."""
    parent, run, program = _started(command, "--die-with-parent", by=_THREADED_PARENT)
    with parent:
        # A signal makes `adsum run` look at all that ended.
        os.kill(run, signal.SIGURG)
        assert is_alive(program)
        assert members["me"].pid == program
        parent.kill()
        eventually(functools.partial(is_dead, program))


def test_a_program_that_ignores_sigterm_is_killed(command: Command, members: Registry) -> None:
    """The program gets SIGTERM first, and where it ignores that, SIGKILL some seconds later."""
    parent, run, program = _started(command, "--die-with-parent", program=_STUBBORN)
    with parent:
        assert signal.SIGTERM in _ignored_by(program)
        parent.kill()
        eventually(functools.partial(is_dead, program))
        eventually(functools.partial(is_dead, run))


def _ignored_by(pid: int) -> set[int]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    mask = int(lines["SigIgn"], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_stopped_program_ends_too(command: Command, members: Registry) -> None:
    """A program that is stopped is continued, so that it can end."""
    with Child("input()") as planner:
        members.register("planner", planner.process)
        with command.start("run", "me", "--owned-by", "planner", "--", sys.executable, "-c", _SLEEPER) as run:
            program = pid_of(run.line())
            os.kill(program, signal.SIGSTOP)
            eventually(lambda: state_of(program) == "T")
            planner.kill()
            eventually(functools.partial(is_dead, program))
            assert run.wait() == 128 + signal.SIGTERM


def test_the_program_of_an_owned_member_ends_with_the_owner(command: Command, members: Registry) -> None:
    """With --owned-by the entry ends in the commit of the owner's death, and the program is ended."""
    with Child("input()") as planner:
        members.register("planner", planner.process)
        with command.start_listener("me", "SIGTERM", options=("--owned-by", "planner")) as run:
            program = pid_of(run.line())
            owned_by = members["me"].owned_by
            assert owned_by is not None
            assert (owned_by.process_id.local_id, owned_by.pid) == ("planner", planner.pid)
            planner.kill()
            run.expect("SIGTERM")
            eventually(lambda: "me" not in members)
            assert {one.how for one in members.departures() if one.entry.pid == program} == {"owner_died"}
            assert run.finish() == 0
            assert is_dead(program)


def test_the_owner_is_handed_over(command: Command, members: Registry) -> None:
    """Where the owning member is handed over to another process, the program ends with that one."""
    with Child("input()") as first, Child("input()") as second:
        planner = members.register("planner", first.process)
        with command.start_listener("me", "SIGTERM", options=("--owned-by", "planner")) as run:
            pid_of(run.line())
            planner.hand_over(second.process)
            first.kill()
            os.kill(run.pid, signal.SIGURG)
            owned_by = members["me"].owned_by
            assert owned_by is not None
            assert owned_by.pid == second.pid
            second.kill()
            run.expect("SIGTERM")
            assert run.finish() == 0


def test_an_owner_that_is_not_there(command: Command, members: Registry) -> None:
    """Where the owning member is not registered, the program never runs, and the exit code is the one that the help
    names."""
    answer = command("run", "me", "--owned-by", "nobody", "--", "echo", "ran")
    assert (answer.code, answer.out) == (3, "")
    assert "nobody is not registered" in answer.err


@pytest.mark.parametrize("options", [("--die-with-parent", "--outlive"), ("--outlive", "--die-with-parent")])
@pytest.mark.parametrize("start", [("run", "me"), ("claim", "me")])
def test_options_that_contradict_each_other(command: Command, start: tuple[str, ...], options: tuple[str, ...]) -> None:
    """--die-with-parent and --outlive together are refused by name; behind -- they are the program's own."""
    answer = command(*start, *options, "--", "echo", "ran")
    assert (answer.code, answer.out) == (2, "")
    assert "--die-with-parent and --outlive contradict each other" in answer.err
    if start[0] == "run":
        assert command(*start, "--", "echo", *options).out == f"{' '.join(options)}\n"


def test_register_a_process_as_owned(command: Command, members: Registry) -> None:
    """`adsum register --owned-by` ties the entry of a process to another member; the process itself lives on."""
    with Child("input()") as planner, Child("input()") as tool:
        members.register("planner", planner.process)
        assert command("register", "tool", str(tool.pid), "--owned-by", "planner").code == 0
        assert f"default/here/planner, process {planner.pid}" in command("show", "tool").out
        assert command.document("show", "tool")["owned_by"]["pid"] == planner.pid
        planner.kill()
        eventually(lambda: "tool" not in members)
        assert tool.process.poll() is None
        (departure,) = [one for one in command.document("departures") if one["how"] == "owner_died"]
        assert departure["id"] == "default/here/tool"
        tool.kill()


def test_claims_are_tethered_too(command: Command, members: Registry) -> None:
    """`adsum claim --die-with-parent` frees the slot when the process that started it is killed."""
    members.register("printer")
    words: Sequence[str] = (sys.executable, "-m", "adsum.cli", "claim", "printer", "--die-with-parent")
    words = (*words, "--", sys.executable, "-c", _SLEEPER)
    with Child(_PARENT, *words, env=command.environment) as parent:
        parent.line()
        program = pid_of(parent.line())
        assert [record.pid for record in members["printer"].claims] == [program]
        parent.kill()
        eventually(functools.partial(is_dead, program))
    eventually(lambda: not members["printer"].claims)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program of another user")
def test_a_program_with_other_privileges(command: Command, members: Registry, tmp_path: Path) -> None:
    """The kernel forgets at the exec of a set-user-ID program that it is to be killed; `adsum run` says so before, and
    ends the program itself while it lives."""
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    os.chown(program, 65534, -1)
    program.chmod(0o4755)
    words = ("run", "me", "--die-with-parent", "--", program, "0")
    answer = command(*words)
    assert answer.code == 0
    assert f"{program} gets other privileges" in answer.err
    assert "gets other privileges" not in command("run", "me", "--die-with-parent", "--", "/bin/sleep", "0").err


def test_a_listener_gets_other_signals_as_before(command: Command, members: Registry) -> None:
    """With a tether, signals are passed on as without one."""
    words = [sys.executable, "-c", LISTENER, "SIGUSR1"]
    with command.start("run", "me", "--die-with-parent", "--", *words) as run:
        pid_of(run.line())
        run.signal(signal.SIGUSR1)
        run.expect("SIGUSR1")
        assert run.finish() == 0
