"""The tests' own tools do what they say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adsum import AlreadyRegistered, Registry
from tests.support import Agent, Child, ChildFailed, end_registrar, eventually, registrar_pid, stopped
from tests.support.leaks import check_nothing_leaked, held


def test_eventually_gives_up() -> None:
    """A condition that never holds is an error that shows its last value."""
    with pytest.raises(AssertionError, match="is 0"):
        eventually(lambda: 0, within=0.01)


def greet(name: str) -> None:
    print(f"hello {name}")
    print(input().upper())


def test_child_runs_a_function_and_talks() -> None:
    """A child runs a module's function and speaks in lines."""
    with Child(greet, "you") as child:
        child.expect("hello you")
        child.say("fine")
        assert child.line() == "FINE"
        assert child.finish() == 0


def test_child_reports_its_traceback() -> None:
    """A child that fails shows why."""
    with Child("raise SystemError('broken inside')") as child, pytest.raises(ChildFailed, match="broken inside"):
        child.line()


def test_agent_gives_values_and_raises_errors(registry: Registry) -> None:
    """What an agent's registry returns or raises arrives here as it is."""
    with Agent(registry.folder) as agent:
        agent.do("registry.register('a')")
        assert agent.value("registry['a']") == registry["a"]
        with pytest.raises(AlreadyRegistered) as caught:
            agent.do("registry.register('a')")
        assert caught.value.entry.pid == agent.pid


def test_registrar_is_found_stopped_and_ended(registry: Registry) -> None:
    """The registrar of a folder is the process that `stats` names; `end_registrar` ends it."""
    assert registrar_pid(registry.folder) is None
    registry.register("a")
    pid = registry.stats().registrar_pid
    with stopped(registry.folder) as stopped_pid:
        assert stopped_pid == registrar_pid(registry.folder) == pid
    assert end_registrar(registry.folder) == pid
    assert registrar_pid(registry.folder) is None


def test_a_leaked_descriptor_is_named(tmp_path: Path) -> None:
    """A descriptor that was not there before is a leak, and is named by its target."""
    before = held()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(AssertionError, match=str(tmp_path)):
            check_nothing_leaked(before, within=0.1)
    finally:
        os.close(descriptor)


def test_a_leaked_child_is_named() -> None:
    """A child process that was not there before is a leak."""
    before = held()
    with Child("input()") as child, pytest.raises(AssertionError, match=f"child process {child.pid}"):
        check_nothing_leaked(before, within=0.1)
