"""Commands whose registry goes with its folder, while their programs run."""

from __future__ import annotations

import signal

import pytest

import adsum
from adsum import Entry
from tests.support import Agent, eventually, remove_folder

from .command import Command, pid_of


def _found(command: Command, name: str) -> Entry | None:
    with adsum.open(path=command.folder, node="here", timeout=10) as registry:
        return registry.lookup(name)


def _returned(command: Command, name: str) -> Entry:
    eventually(lambda: _found(command, name))
    entry = _found(command, name)
    assert entry is not None
    return entry


@pytest.mark.parametrize("options", [(), ("--outlive",)], ids=["tethered", "outlive"])
def test_a_program_is_registered_anew(command: Command, options: tuple[str, ...]) -> None:
    """`adsum run` registers its program anew with the metadata of its options, says so, and goes on to pass signals
    on. A second run under the id is refused meanwhile (S1)."""
    given = ("--capability", "planning", "--heartbeat", "60", "--gauge", "load=0.5", *options)
    with command.start_listener("leader", "SIGUSR1", options=given) as run:
        pid = pid_of(run.line())
        remove_folder(command.folder)
        second = command("run", "leader", "--", "echo", "granted")
        assert (second.code, second.out) == (3, "")
        assert f"held by process {pid}" in second.err
        entry = _returned(command, "leader")
        assert (entry.pid, set(entry.metadata.capabilities), entry.metadata.heartbeat) == (pid, {"planning"}, 60.0)
        assert entry.metadata.gauges == {"load": 0.5}
        run.signal(signal.SIGUSR1)
        assert run.line() == "SIGUSR1"
        assert run.finish() == 0
        assert "leader is registered anew" in run._stderr()
    assert _found(command, "leader") is None


def test_a_program_comes_back_twice(command: Command) -> None:
    """A second loss is noticed like the first one."""
    with command.start_listener("leader") as run:
        pid = pid_of(run.line())
        for _ in range(2):
            remove_folder(command.folder)
            assert _returned(command, "leader").pid == pid
        run.finish()


def test_an_owned_program_comes_back_with_its_owner(command: Command) -> None:
    """With --owned-by the new entry has the same owning process, and the program still ends with it."""
    with Agent(command.folder, env=command.environment) as owner:
        owner.do("registry.register('planner')")
        with command.start_listener("tool", options=("--owned-by", "planner")) as run:
            pid = pid_of(run.line())
            remove_folder(command.folder)
            entry = _returned(command, "tool")
            assert (entry.pid, entry.owned_by and entry.owned_by.pid) == (pid, owner.pid)
            eventually(lambda: _found(command, "planner"))
            owner.kill()
            assert run.wait() == 128 + signal.SIGTERM
    eventually(lambda: _found(command, "tool") is None)
