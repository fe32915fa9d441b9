"""``heartbeat="thread"``: a thread of the process sends the heartbeats, for as long as the process runs Python code."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Entry, InvalidMetadata, Registry, SystemBusy
from adsum._os import threads as os_threads
from tests.support import Agent, Child, eventually, remove_folder

NAME = "adsum-heartbeats"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == NAME]


def shows(registry: Registry, status: str, source: str) -> bool:
    entry = registry.lookup("a")
    return entry is not None and (entry.metadata.health_status, entry.health_source) == (status, source)


def _beats_for(registry: Registry, seconds: float) -> bool:
    entry = registry["a"]
    assert entry.metadata.health_status == "healthy"
    return entry.metadata.last_health_check - entry.registered_at > timedelta(seconds=seconds)


CALLS: dict[str, Callable[[Any], object]] = {
    "register": lambda registry: registry.register("a", heartbeat="thread"),
    "get_or_register": lambda registry: registry.get_or_register("a", heartbeat="thread"),
    "register_many": lambda registry: registry.register_many([("b", {}), ("a", {"heartbeat": "thread"})]),
    "stand_by": lambda registry: registry.stand_by("a", heartbeat="thread").result(10),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_thread_sends_the_heartbeats(either: Registry, call: str) -> None:
    """Each call that registers takes the word; no code of the member is needed, and its revision stays as it is."""
    CALLS[call](either)
    before = either["a"]
    assert before.metadata.heartbeat == 1.0
    eventually(lambda: _beats_for(either, 2.0))
    assert either["a"].revision == before.revision
    if call == "register_many":
        assert either["b"].metadata.heartbeat is None


def test_without_waiting(registry: Registry) -> None:
    """`register_nowait` and the decorator take the word, too."""
    registry.register_nowait("a", heartbeat="thread").result(10)
    eventually(lambda: _beats_for(registry, 1.6))
    registry.unregister("a")

    @registry.member("a", heartbeat="thread")
    def work() -> None:
        eventually(lambda: _beats_for(registry, 1.6))

    work()
    assert "a" not in registry


def test_for_a_thread(registry: Registry) -> None:
    """The entry of a thread can have them, too: they say that its process runs, and end with the entry."""
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    registry.register("a", thread, heartbeat="thread")
    eventually(lambda: _beats_for(registry, 1.6))
    ends.set()
    thread.join()
    eventually(lambda: not threads())


def test_a_blocked_main_thread_does_not_show(registry: Registry) -> None:
    """It says that the process runs Python code, and nothing about its work: a main thread that waits is healthy."""
    with Agent(registry.folder) as agent:
        agent.do("registry.register('a', heartbeat='thread')")
        # It waits for its next line.
        assert registry["a"].pid == agent.pid
        eventually(lambda: _beats_for(registry, 2.0))


def test_a_process_that_runs_no_python_shows(registry: Registry) -> None:
    """A process in which C code keeps the interpreter's lock is degraded, and healthy again after it."""
    code = """
import ctypes, sys, adsum
registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("a", heartbeat="thread")
print("registered")
input()
ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
print("goes on")
input()
"""
    with Child(code, registry.folder) as child:
        child.expect("registered")
        eventually(lambda: _beats_for(registry, 1.6))
        # The first line lets it call read(2), which waits for the second one and keeps the lock meanwhile.
        child.say()
        eventually(lambda: shows(registry, "degraded", "registrar"))
        child.say()
        child.expect("goes on")
        eventually(lambda: shows(registry, "healthy", "process"))


def test_a_stopped_process_is_healthy_after_it_continues(registry: Registry) -> None:
    """A member that was stopped is degraded, then unhealthy; its thread's next heartbeat makes it healthy again."""
    with Agent(registry.folder) as agent:
        agent.do("registry.register('a', heartbeat='thread')")
        agent.stop()
        eventually(lambda: shows(registry, "unhealthy", "registrar"))
        agent.resume()
        eventually(lambda: shows(registry, "healthy", "process"))
        eventually(lambda: _beats_for(registry, 2.0))


def test_a_forked_child_sends_nothing_for_its_parent(registry: Registry) -> None:
    """A forked child has no thread for the parent's members; its own members get one of its own."""
    code = """
import os, sys, threading, time, adsum
registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("a", heartbeat="thread")
child = os.fork()
if not child:
    print("threads", [thread.name for thread in threading.enumerate() if "heartbeats" in thread.name], flush=True)
    registry.register("b", heartbeat="thread")
    print(os.getpid(), flush=True)
    time.sleep(600)
input()
"""
    with Child(code, registry.folder) as parent:
        assert parent.line() == "threads []"
        child = int(parent.line())
        try:
            parent.stop()
            eventually(lambda: shows(registry, "degraded", "registrar"))
            entry = registry["b"]
            assert entry.metadata.last_health_check > entry.registered_at
            assert (entry.pid, entry.metadata.health_status) == (child, "healthy")
            parent.resume()
            eventually(lambda: shows(registry, "healthy", "process"))
        finally:
            os.kill(child, signal.SIGKILL)


def test_one_thread_for_all_members_and_none_for_none(registry_folder: Path) -> None:
    """One thread sends the heartbeats of all members of a process, in several registries; it ends with the last."""
    with (
        adsum.open(path=registry_folder, timeout=10) as one,
        adsum.open(path=registry_folder, timeout=10, namespace="other") as other,
    ):
        for registry, id in ((one, "a"), (one, "b"), (other, "c")):
            registry.register(id, heartbeat="thread")
        assert threads() == [NAME]
        one.unregister("a")
        one.unregister("b")
        other.unregister("c")
        eventually(lambda: not threads())
        one.register("a", heartbeat="thread")
        other.register("c", heartbeat="thread")
        other.close()
        assert threads() == [NAME]
    eventually(lambda: not threads())


@pytest.mark.parametrize("end", ["unregistered", "closed"])
def test_a_successor_gets_none_of_them(registry: Registry, end: str) -> None:
    """The thread's heartbeats end with the entry and with the registry: a later holder that sends none is late."""
    with adsum.open(path=registry.folder, timeout=10) as mine:
        entry = mine.register("a", heartbeat="thread").entry
        if end == "closed":
            mine.close()
        else:
            mine.unregister("a")
            mine.register("a", heartbeat=1.0)
        eventually(lambda: shows(registry, "degraded", "registrar"))
        assert registry["a"].pid == entry.pid
        outcomes = registry.stats().outcomes
        assert outcomes.get("stale", 0) + outcomes.get("not_registered", 0) <= 1


def test_they_go_on_where_the_folder_was_lost(registry: Registry) -> None:
    """A member that is registered anew, because its registry is gone, has the heartbeats of its new incarnation."""
    # So that the new incarnation has another number.
    registry.register("first").unregister()
    registration = registry.register("a", heartbeat="thread")
    before = registration.entry
    remove_folder(registry.folder)
    eventually(lambda: registration.entry is not before)
    assert registration.entry.incarnation != before.incarnation
    eventually(lambda: _beats_for(registry, 2.0))


def test_they_go_on_with_the_next_registrar(registry: Registry) -> None:
    """The heartbeats go to the next registrar when one was killed."""
    registry.register("a", heartbeat="thread")
    pid = registry.stats().registrar_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    now = registry["a"].metadata.last_health_check
    eventually(lambda: registry["a"].metadata.last_health_check - now > timedelta(seconds=1.6))
    assert registry["a"].metadata.health_status == "healthy"


@pytest.mark.parametrize("end", ["return", "sys.exit(0)", "registry.close()"])
def test_the_end_of_the_interpreter_is_not_delayed(registry_folder: Path, end: str) -> None:
    """A program ends although the thread sends heartbeats for it."""
    code = f"""
import sys, adsum
def main():
    registry = adsum.open(path=sys.argv[1], timeout=10)
    registry.register("a", heartbeat="thread")
    input()
    {end}
main()
"""
    with Child(code, registry_folder) as child, adsum.open(path=registry_folder) as registry:
        eventually(lambda: "a" in registry)
        child.say()
        begun = time.monotonic()
        assert child.wait(10) == 0
        assert time.monotonic() - begun < 5
        eventually(lambda: "a" not in registry)


def test_a_registry_that_is_not_kept_stays_open_for_them(registry: Registry) -> None:
    """The program may drop the registry object: its members' heartbeats go on."""
    with Agent(registry.folder) as agent:
        agent.do("adsum.open(path=registry.folder, timeout=10).register('a', heartbeat='thread')")
        agent.do("import gc; gc.collect()")
        eventually(lambda: _beats_for(registry, 2.0))


def test_without_a_thread_nothing_is_promised(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the call raises `SystemBusy`, and nothing is registered."""

    def refuse(thread: threading.Thread) -> None:
        raise SystemBusy("no thread")

    registry.register("first")
    monkeypatch.setattr(os_threads, "start", refuse)
    with pytest.raises(SystemBusy):
        registry.register("a", heartbeat="thread")
    assert "a" not in registry
    monkeypatch.undo()
    registry.register("a", heartbeat="thread")
    assert threads() == [NAME]


def test_only_for_a_member_of_this_process(either: Registry) -> None:
    """For another process the word is refused, and in `update`; any other word is, with the words that are possible."""
    with Child("input()") as child, pytest.raises(ValueError, match="another process"):
        either.register("a", child.pid, heartbeat="thread")
    either.register("b")
    update: Any = either.update
    with pytest.raises(InvalidMetadata, match=r"metadata\.heartbeat"):
        update("b", heartbeat="thread")
    register: Any = either.register
    with pytest.raises(InvalidMetadata, match=r"metadata\.heartbeat.*'thread'.*'loop'"):
        register("a", heartbeat="five")
    assert "a" not in either
    found: Entry = either["b"]
    assert found.metadata.heartbeat is None
    assert threads() == []
