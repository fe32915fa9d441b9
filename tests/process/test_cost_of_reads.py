"""What a read costs, counted in calls and never in time: the guard of the fast paths."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from adsum import Conditions, Registry
from adsum._os import identity

from ..support import Agent, eventually, kill_registrar
from ..support.children import ChildFailed
from ..support.internals import count_questions


@pytest.fixture
def agents(registry_folder: Path) -> Iterator[list[Agent]]:
    """Three processes, each of which registered itself."""
    with Agent(registry_folder) as one, Agent(registry_folder) as two, Agent(registry_folder) as three:
        for number, agent in enumerate((one, two, three)):
            agent.do(f"held = registry.register('agent-{number}', capabilities=['talking'])")
        yield [one, two, three]


def calls_of(read: Callable[[], object]) -> Counter[str]:
    """The functions that are called in a read, by name; those of C with a star."""
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called[frame.f_code.co_name] += 1
        elif event == "c_call":
            called["*" + argument.__name__] += 1

    sys.setprofile(note)
    try:
        read()
    finally:
        sys.setprofile(None)
    del called["<lambda>"], called["*setprofile"]
    return called


def count_snapshots(registry: Registry) -> list[object]:
    """From now on, the snapshots that a reader of the registry opens."""
    opened: list[object] = []
    tables = registry._reader._tables
    read = tables._read_once

    def noted(*arguments: Any) -> object:
        opened.append(arguments)
        return read(*arguments)

    tables._read_once = noted  # type: ignore[method-assign, assignment]
    return opened


def test_a_lookup_of_a_name_seen_before_is_one_call(registry: Registry, agents: list[Agent]) -> None:
    """From the third time on it looks into a dictionary and compares memory; nothing else is called, so the kernel is
    not either."""
    assert registry.lookup("agent-1")
    assert registry.lookup("agent-1")
    assert calls_of(lambda: registry.lookup("agent-1")) == {"lookup": 1, "*get": 1}


@pytest.mark.skipif(not identity.pidfds_have_inodes(), reason="needs Linux 6.9: pidfds with inodes of their own")
def test_a_death_is_found_with_three_calls_of_the_kernel(registry: Registry, registry_folder: Path) -> None:
    """The epoll reports a death; the pidfd says whose, and is checked to be ours. What is left is tidied by a later
    question, about a member that lives."""
    with subprocess.Popen(["sleep", "600"]) as one, subprocess.Popen(["sleep", "600"]) as other:
        try:
            registry.register("one", one.pid)
            registry.register("other", other.pid)
            assert registry.lookup("one")
            assert registry.lookup("other")
            # The reader alone is to find the death.
            kill_registrar(registry_folder)
            one.kill()
            os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
            found: list[object] = []
            called = calls_of(lambda: found.append(registry.lookup("one")))
            assert found == [None]
            # One `poll` is that which makes the other's object.
            of_the_kernel = {name: called[name] for name in ("*poll", "*fstat", "*pidfd_open", "*close", "*unregister")}
            assert of_the_kernel == {"*poll": 3, "*fstat": 1, "*pidfd_open": 0, "*close": 0, "*unregister": 0}
            assert calls_of(lambda: registry.lookup("other"))["*unregister"] == 1
            assert registry.lookup("one") is None
            assert registry.lookup("other")
        finally:
            one.kill()
            other.kill()


def test_a_lookup_of_an_absent_name_is_one_call(registry: Registry, agents: list[Agent]) -> None:
    """A name that was looked for is known to be absent until it is registered."""
    assert registry.lookup("agent-7") is None
    assert calls_of(lambda: registry.lookup("agent-7")) == {"lookup": 1, "*get": 1}
    agents[0].do("registry.register('agent-7')")
    assert registry.lookup("agent-7")
    registry.unregister("agent-7")
    assert registry.lookup("agent-7") is None


def test_a_search_asked_before_opens_no_snapshot(registry: Registry, agents: list[Agent]) -> None:
    """It is answered from memory, whatever happens to members that it does not concern."""
    assert len(registry.find(capability="talking")) == 3
    questions, snapshots = count_questions(registry), count_snapshots(registry)
    assert len(registry.find(capability="talking")) == 3
    other = registry.register("other", capabilities=["listening"])
    snapshots.clear()
    assert len(registry.find(capability="talking")) == 3
    other.update(endpoint="tcp://1.2.3.4:5")
    assert len(registry.find(capability="talking")) == 3
    assert (questions, snapshots) == ([], [])


CHANGES = {
    "update": "held.update(endpoint='tcp://1.2.3.4:5')",
    "capability away": "held.update(capabilities=['silent'])",
    "health": "held.update_health('degraded')",
    "heartbeat": "held.heartbeat()",
    "unregister": "held.unregister()",
    "register anew": "registry.register('agent-1', replace=True, capabilities=['talking'])",
    "another one": "registry.register('agent-9', capabilities=['talking'])",
    "death": "import os; os._exit(0)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kept_result_follows_each_kind_of_change(registry: Registry, agents: list[Agent], change: str) -> None:
    """What `find` kept is never older than what the tables hold, which another query has not kept."""
    before = registry.find(capability="talking")
    assert registry.find(capability="talking") == before
    if change != "death":
        agents[1].do(CHANGES[change])
    else:
        with pytest.raises(ChildFailed):
            agents[1].do(CHANGES[change])
        agents[1].wait()
        assert [entry.process_id.local_id for entry in registry.find(capability="talking")] == ["agent-0", "agent-2"]
        eventually(lambda: len(registry.departures()) == 1)
    found = registry.find(capability="talking")
    assert found != before
    assert found == registry.find(capability="talking", where=lambda _: True)
    assert found == [entry for entry in registry.list_all() if "talking" in entry.metadata.capabilities]


def test_one_of_many_is_taken_without_asking_for_the_others(registry: Registry, agents: list[Agent]) -> None:
    """choose, count and the first of a search need no snapshot once a search was kept, and never give a dead one."""
    conditions: Conditions = {"capability": "talking", "health_status": "healthy"}
    assert len(registry.find(**conditions)) == 3
    questions, snapshots = count_questions(registry), count_snapshots(registry)
    assert registry.count(**conditions) == 3
    assert [entry.process_id.local_id for entry in registry.find(limit=1, **conditions)] == ["agent-0"]
    chosen = {registry.choose(by="round_robin", **conditions) for _ in range(3)}
    assert {entry.process_id.local_id for entry in chosen if entry} == {"agent-0", "agent-1", "agent-2"}
    assert questions == []
    # The one lookup of each that was chosen for the first time.
    assert len(snapshots) <= 3
    agents[0].kill_unreaped()
    assert registry.count(**conditions) == 2
    assert [entry.process_id.local_id for entry in registry.find(limit=1, **conditions)] == ["agent-1"]
    assert "agent-0" not in {entry.process_id.local_id for _ in range(9) if (entry := registry.choose(**conditions))}


def test_a_dead_member_whose_id_was_taken_again_is_not_chosen(registry: Registry, agents: list[Agent]) -> None:
    """Also where the death and the next registration come between the look at the result and that at the member."""
    conditions: Conditions = {"id_prefix": "agent-0", "health_status": "healthy"}
    (old,) = registry.find(**conditions)
    kept = registry._reader.kept(registry._query(None, conditions))
    assert kept is not None
    agents[0].kill()
    eventually(lambda: len(registry.departures()) == 1)
    agents[1].do("registry.register('agent-0')")
    registry._reader.kept = lambda _: kept  # type: ignore[method-assign, assignment]
    try:
        chosen = registry.choose(**conditions)
    finally:
        # What is left in the object would keep it, and its descriptors, in a cycle.
        del registry._reader.kept
    assert chosen is not None
    assert chosen.incarnation > old.incarnation


def test_a_result_is_the_callers_own(registry: Registry, agents: list[Agent]) -> None:
    """A caller may change the list that it got."""
    registry.find(capability="talking").clear()
    registry.find(capability="talking").clear()
    assert len(registry.find(capability="talking")) == 3


@pytest.mark.parametrize("damage", ["removed", "truncated", "garbage"])
def test_a_board_that_was_lost_is_made_anew(
    registry: Registry, registry_folder: Path, agents: list[Agent], damage: str
) -> None:
    """A registrar that starts without the board makes another, and no reader trusts what it kept by the lost one."""
    assert len(registry.find(capability="talking")) == 3
    kill_registrar(registry_folder)
    board = registry_folder / "board"
    if damage == "garbage":
        with open(board, "r+b") as file:
            file.write(os.urandom(8))
    else:
        # Not in place, which would end the processes that have it in memory (SIGBUS).
        content = board.read_bytes()
        board.unlink()
        if damage == "truncated":
            board.write_bytes(content[:1000])
    agents[1].do("held.update(capabilities=['silent'])")
    assert len(registry.find(capability="talking")) == 2
    assert len(registry.find(capability="talking")) == 2
    agents[1].do("held.update(capabilities=['talking'])")
    assert len(registry.find(capability="talking")) == 3
    agents[1].kill()
    assert len(registry.find(capability="talking")) == 2


def test_the_least_of_many_is_found_without_a_call_for_each(registry: Registry) -> None:
    """The gauges of all members are read at once, however many there are."""
    calls = []
    for members in (20, 200):
        names = [f"w{n}" for n in range(members)]
        registry.register_many([(name, {"gauges": {"load": 1.0}}) for name in names], replace=True)
        for _ in range(2):
            assert registry.choose(by="least", key="load")
        calls.append(calls_of(lambda: registry.choose(by="least", key="load")))
        registry.set_gauge(names[-1], "load", 0.5)
        assert registry.choose(by="least", key="load") == registry[names[-1]]
    assert calls[0] == calls[1]
    assert sum(calls[0].values()) < 60
