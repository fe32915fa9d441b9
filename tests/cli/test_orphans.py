"""`adsum doctor --orphans`: processes that outlive what they belong to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adsum import Registry
from adsum.cli import processes
from adsum.cli.run import mark
from tests.support import Child, eventually, registrar_pid

from .command import Command, pid_of

# Starts a process that outlives it, in a session that neither the process nor init has begun, and prints its pid.
_LEAVES_A_CHILD = "os.setsid(); child = subprocess.Popen(['sleep', '600'], stdout=2); print(child.pid, flush=True)"
# The same, as a program of `adsum run` that goes on itself.
_HAS_A_CHILD = f"""
import os, subprocess, time
{_LEAVES_A_CHILD.replace("os.setsid(); ", "")}
print("ready", os.getpid(), flush=True)
time.sleep(600)
"""


def orphans(command: Command) -> list[Any]:
    """The problems that are found."""
    return [finding for finding in command.document("doctor", "--orphans")["checks"] if finding["level"] == "problem"]


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Processes that are ended with the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            # It has ended in the test.
            continue
        eventually(lambda pid=pid: processes.read(pid) is None)  # type: ignore[misc]


def test_nothing_is_left_behind(command: Command, members: Registry) -> None:
    """A member whose parent lives, a program whose `adsum run` lives and an owned member are no orphans."""
    with Child("input()") as planner:
        members.register("planner", planner.process)
        with command.start_listener("me", options=("--owned-by", "planner")) as run:
            pid_of(run.line())
            answer = command("doctor", "--orphans")
            assert (answer.code, answer.out.count(" ok ")) == (0, 1), answer.out
        planner.kill()


def test_there_is_no_registry(command: Command) -> None:
    """Without a registry there is nothing to find, and none is made."""
    assert command("doctor", "--orphans").code == 0
    assert not command.folder.exists()


def test_a_program_that_outlived_its_adsum(command: Command, members: Registry, ended: list[int]) -> None:
    """A program whose `adsum run` was killed is found, with its id and the remedy; once it ends it is not."""
    with command.start_listener("me", options=("--outlive",)) as run:
        ended.append(pid := pid_of(run.line()))
        os.kill(run.pid, signal.SIGKILL)
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        (found,) = orphans(command)
        assert found["check"] == "supervisor"
        assert f"default/here/me (pid {pid}, " in found["says"]
        assert f"(pid {run.pid}) that has ended" in found["says"]
        assert f"kill {pid}" in found["remedy"]
        assert command("doctor", "--orphans").code == 1
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: "me" not in members)
        assert orphans(command) == []


def test_what_a_program_has_started(command: Command, members: Registry, ended: list[int]) -> None:
    """A process that a program of `adsum run` has started is found when adsum and the program were killed, although it
    is no member."""
    with command.start("run", "me", "--", sys.executable, "-c", _HAS_A_CHILD) as run:
        ended.append(child := int(run.line()))
        ended.append(pid_of(run.line()))
        assert orphans(command) == []
        run.kill()
        eventually(lambda: "me" not in members)
        (found,) = orphans(command)
        assert f"(pid {child}, sleep)" in found["says"]
        assert "default/" not in found["says"]


def test_a_registrar_is_no_orphan(command: Command, ended: list[int]) -> None:
    """A registrar that a program of `adsum run` has started goes on without it, and is not found."""
    code = "import adsum; adsum.open().register('inner'); print('done', flush=True)"
    kill = "import adsum, os; adsum.admin.stop_registrar(adsum.open().folder); "
    answer = command("run", "me", "--", sys.executable, "-c", kill + code)
    assert answer.out == "done\n"
    registrar = registrar_pid(command.folder)
    assert registrar is not None
    assert mark.supervisor_of(registrar) is None
    assert orphans(command) == []


def test_a_member_whose_owner_has_left(command: Command, members: Registry) -> None:
    """A member whose owning member was unregistered, or is another process now, is found as long as it lives."""
    with Child("input()") as planner, Child("input()") as tool:
        members.register("planner", planner.process)
        members.register("tool", tool.process, owned_by="planner")
        assert orphans(command) == []
        members.unregister("planner")
        for _ in range(2):
            (found,) = orphans(command)
            assert found["check"] == "owner"
            assert f"default/here/tool (pid {tool.pid}, python) is owned by default/here/planner" in found["says"]
            members.get_or_register("planner")
        planner.kill()
        tool.kill()


def test_a_member_whose_parent_has_ended(command: Command, members: Registry, ended: list[int]) -> None:
    """A member that belongs to init now, because the process that started it has ended, is found; a daemon, which has
    begun a session of its own, is not."""
    left = subprocess.run(
        [sys.executable, "-c", f"import os, subprocess; {_LEAVES_A_CHILD}"], stdout=subprocess.PIPE, text=True
    )
    daemon = subprocess.run(["sh", "-c", "setsid sleep 600 >&- & echo $!"], stdout=subprocess.PIPE, text=True)
    ended.extend(map(int, (left.stdout, daemon.stdout)))
    orphan, own = ended
    eventually(lambda: all(_parent(pid) != os.getpid() for pid in ended))
    if _parent(orphan) != 1:
        pytest.skip(f"process {_parent(orphan)}, which is not init, gets the children of the dead here")
    members.register("orphan", orphan)
    eventually(lambda: (found := processes.read(own)) is not None and found.session == own)
    members.register("daemon", own)
    (found,) = orphans(command)
    assert found["check"] == "parent"
    assert f"default/here/orphan (pid {orphan}, sleep) belongs to init (pid 1)" in found["says"]
    assert "--die-with-parent" in found["remedy"]


def _parent(pid: int) -> int:
    found = processes.read(pid)
    assert found is not None
    return found.parent


def test_hostile_names_and_marks(command: Command, members: Registry, tmp_path: Path) -> None:
    """Names of processes are printed escaped, and a variable that is no mark of `adsum run` is none."""
    program = tmp_path / "a) R 1\n\x1b[31m"
    program.symlink_to("/bin/sleep")
    for value in ("", "x", "1.2", "1.2.3.4", "-1.2.3", "1.2.x"):
        with marked(program, value) as pid:
            assert mark.supervisor_of(pid) is None
    with marked(program, "4000000.1.1") as pid, marked(program, "9" * 30 + ".1.1"):
        found = command("doctor", "--orphans")
    assert found.code == 1
    assert f"(pid {pid}, a) R 1\\n\\x1b[31m)" in found.out
    assert found.out.count(" problem ") == 2
    assert "\x1b" not in found.out


@contextmanager
def marked(program: Path, value: str) -> Iterator[int]:
    """A process with this value of the mark."""
    with subprocess.Popen([program, "600"], env={**os.environ, mark.VARIABLE: value}) as child:
        try:
            # Before its exec it has the environment of this process.
            eventually(lambda: processes.variable(child.pid, mark.VARIABLE) is not None)
            yield child.pid
        finally:
            child.kill()
