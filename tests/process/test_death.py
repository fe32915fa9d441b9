"""The registry follows the kernel: a death is visible to readers at once, and removed from the tables soon."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import DeadProcess, Registry

from ..support import Agent, Child, eventually, stopped
from .people import ALL_WAYS, crowd, gone_from_tables, kill_unreaped, sleeper, sleepers, ways_to_see

REGISTER = "registry.register('agent', capabilities={'talking'})"


@pytest.fixture
def agent(registry_folder: Path) -> Iterator[Agent]:
    """A process that registered itself as "agent"."""
    with Agent(registry_folder) as one:
        one.do(REGISTER)
        yield one


def seen(registry: Registry) -> set[str]:
    return ways_to_see(registry, "agent", "talking")


def test_a_living_process_is_seen_in_every_way(registry: Registry, agent: Agent) -> None:
    """Every kind of read shows a registered, living process."""
    assert seen(registry) == ALL_WAYS


@pytest.mark.parametrize("how", ["killed", "exited", "zombie"])
def test_the_dead_are_gone_from_the_tables(registry: Registry, agent: Agent, how: str) -> None:
    """However a process ends, its entry is removed from the tables and recorded as died."""
    assert seen(registry) == ALL_WAYS
    if how == "killed":
        agent.kill()
    elif how == "exited":
        assert agent.finish() == 0
    else:
        agent.kill_unreaped()
    assert seen(registry) == set()
    gone_from_tables(registry)
    assert [departure.how for departure in registry.departures()] == ["died"]


def test_no_read_shows_a_zombie_even_before_it_is_cleaned_up(
    registry: Registry, registry_folder: Path, agent: Agent
) -> None:
    """Every read treats a zombie as dead at once, without help from the registrar."""
    assert seen(registry) == ALL_WAYS
    with stopped(registry_folder):
        agent.kill_unreaped()
        assert seen(registry) == set()
        assert len(registry) == 0
        with adsum.open(path=registry_folder) as fresh:
            assert seen(fresh) == set()


def test_a_zombie_cannot_be_registered(registry: Registry) -> None:
    """A zombie is refused as dead."""
    with sleeper() as process:
        kill_unreaped(process)
        with pytest.raises(DeadProcess):
            registry.register("zombie", process.pid)


def test_a_stopped_process_stays(registry: Registry, agent: Agent) -> None:
    """A process stopped by a signal is alive: reads show its entry, and other processes go on writing."""
    agent.stop()
    for number in range(50):
        registry.register(f"other-{number}")
        registry.update("agent", custom={"number": number})
        assert seen(registry) == ALL_WAYS
    agent.resume()
    assert agent.value("registry['agent'].metadata.custom") == {"number": 49}


def _hog(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    registry.register("agent", capabilities={"talking"})
    registry.register("its-thread", threading.current_thread())
    print("registered")
    # A single call of C code that never releases the interpreter lock.
    sum(itertools.repeat(1))


def test_a_process_that_hogs_its_interpreter_stays(registry: Registry, registry_folder: Path) -> None:
    """A process that never releases the interpreter lock is alive, with its local members; others read and write."""
    with Child(_hog, registry_folder) as hog:
        hog.expect("registered")
        for number in range(50):
            registry.register(f"other-{number}")
            assert seen(registry) == ALL_WAYS
        assert registry.lookup("its-thread")
        hog.kill()
        assert registry.lookup("agent") is None
        assert registry.lookup("its-thread") is None


def _leave_a_child(folder: str) -> None:
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "600"], stdin=nothing, stdout=nothing, stderr=nothing)
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("orphan", child)
    print(child.pid)
    sys.stdin.read()


def test_the_child_of_a_dead_parent_lives_on(registry: Registry, registry_folder: Path) -> None:
    """A registered process outlives the parent that registered it, and its own death is detected."""
    with Child(_leave_a_child, registry_folder) as parent:
        pidfd = os.pidfd_open(int(parent.line()))
    try:
        registry.register("other")
        assert registry.lookup("orphan")
        assert registry.stats().entries == 2
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    eventually(lambda: registry.lookup("orphan") is None)
    gone_from_tables(registry, 1)


def test_one_death_takes_all_that_the_process_owned_and_nothing_else(registry: Registry, agent: Agent) -> None:
    """A dead process loses all its entries, in every namespace; the entries of other processes stay."""
    agent.do("registry.register_many([(f'more-{n}', {}) for n in range(20)])")
    agent.do("registry.register(('elsewhere', 'node', 'more'))")
    registry.register("other")
    agent.kill()
    gone_from_tables(registry, 1)
    assert [entry.process_id.local_id for entry in registry.list_all()] == ["other"]
    assert registry.list_all(namespace="elsewhere") == []


def test_the_id_of_a_dead_process_is_free_at_once(registry: Registry, registry_folder: Path) -> None:
    """The id of a dead holder can be registered right after its death, whether or not its entry was cleaned up."""
    with sleepers(30) as processes:
        for process in processes:
            before = registry.register("name", process).entry
            kill_unreaped(process)
            registration = registry.register("name")
            assert registration.entry.incarnation > before.incarnation
            assert registry["name"].pid == os.getpid()
            registration.unregister()


def test_from_the_moment_of_its_death_no_process_is_handed_out(registry: Registry) -> None:
    """When processes die one after the other, the next read by a registry, used before or new, omits each of them."""
    with sleepers(60) as processes:
        for number, process in enumerate(processes):
            registry.register(f"s{number}", process, capabilities={"sleeping"})
        for number, process in enumerate(processes):
            if number % 2:
                assert registry.lookup(f"s{number}")
            kill_unreaped(process)
            assert registry.lookup(f"s{number}") is None
            assert registry.count(capability="sleeping") == len(processes) - number - 1
            assert process.pid not in {entry.pid for entry in registry.find(capability="sleeping")}


def test_a_thousand_deaths_at_once(registry: Registry, registry_folder: Path) -> None:
    """After one signal has killed a thousand processes, no read returns them, and they leave the tables."""
    with crowd(1000) as many:
        for number, pid in enumerate(many.pids):
            registry.register(f"m{number}", pid, capabilities={f"c{number % 10}"})
        registry.register("survivor", capabilities={"c0"})
        assert len(registry) == 1001
        with stopped(registry_folder):
            many.kill()
            assert [entry.process_id.local_id for entry in registry.find()] == ["survivor"]
            assert registry.count(capability="c0") == 1
            assert not any(registry.lookup(f"m{number}") for number in range(1000))
        gone_from_tables(registry, 1)
        many.reap()
    assert {departure.how for departure in registry.departures(999)} == {"died"}
