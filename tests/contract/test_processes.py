"""What can be registered: any living process, thread or task; a dead process is refused with `DeadProcess`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import adsum
from adsum import DeadProcess, Registry
from tests.support import Agent, Child, eventually, eventually_awaited


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


def test_this_process_is_the_default(either: Registry) -> None:
    """By default the caller's process is registered; its identity excludes later processes with the same pid."""
    entry = either.register("a").entry
    assert entry.pid == os.getpid()
    assert entry.start_time == int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


FORMS: dict[str, Callable[[subprocess.Popen[bytes]], Any]] = {
    "pid": lambda process: process.pid,
    "Popen": lambda process: process,
    "anything with a pid": lambda process: SimpleNamespace(pid=process.pid),
}


@pytest.mark.parametrize("form", FORMS)
def test_another_process_is_registered(either: Registry, child: Child, form: str) -> None:
    """A pid, a Popen or any object with a pid names a process; the entry is removed when that process dies."""
    entry = either.register("a", FORMS[form](child.process)).entry
    assert entry.pid == child.pid
    child.kill()
    assert either.lookup("a") is None
    eventually(lambda: either.stats().entries == 0)


def test_a_multiprocessing_process_is_registered(either: Registry) -> None:
    """A `multiprocessing.Process` object can be registered."""
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    try:
        assert either.register("a", process).entry.pid == process.pid
    finally:
        process.kill()
        process.join()
    assert either.lookup("a") is None
    with pytest.raises(DeadProcess, match="only a living process"):
        either.register("a", process)
    process.close()


def test_the_number_is_advised_where_an_object_was_given(either: Registry, child: Child) -> None:
    """The message for a dead process advises to give its number only to a caller that did not give it."""
    child.kill()
    with pytest.raises(DeadProcess, match=rf"give the number: {child.pid}$"):
        either.register("a", child.process)
    with pytest.raises(DeadProcess, match=r"can be registered$"):
        either.register("a", child.pid)


def test_a_process_that_was_not_started(either: Registry) -> None:
    """A `multiprocessing.Process` that has not started raises `DeadProcess`, which advises to wait until it runs."""
    process = multiprocessing.get_context("spawn").Process(target=time.sleep)
    with pytest.raises(DeadProcess, match="register it once it runs"):
        either.register("a", process)


async def test_an_asyncio_subprocess_is_registered(registry: Registry) -> None:
    """A process that asyncio started is registered by its pid."""
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "read x", stdin=subprocess.PIPE)
    assert registry.register("a", process).entry.pid == process.pid
    process.kill()
    await process.wait()
    assert registry.lookup("a") is None
    with pytest.raises(DeadProcess):
        registry.register("a", process)


@pytest.mark.parametrize("form", FORMS)
def test_a_dead_process_is_refused(either: Registry, child: Child, form: str) -> None:
    """Every form that names an exited and reaped process raises `DeadProcess`."""
    child.kill()
    with pytest.raises(DeadProcess, match="only a living process can be registered") as caught:
        either.register("a", FORMS[form](child.process))
    assert caught.value.reason == "dead_process"
    assert either.lookup("a") is None


def test_a_zombie_is_refused(either: Registry, child: Child) -> None:
    """A zombie, which has exited and was not reaped, is refused as dead."""
    child.kill_unreaped()
    with pytest.raises(DeadProcess):
        either.register("a", child.pid)
    with pytest.raises(DeadProcess):
        either.register_many([("a", {}), ("b", {})], child.pid)
    with pytest.raises(DeadProcess):
        either.get_or_register("a", child.pid)


@pytest.mark.parametrize("number", [0, -1, -(2**40), 2**22 + 1, 2**31, 2**70])
def test_a_number_of_no_process_is_refused(either: Registry, number: int) -> None:
    """A number that no process has, or can have, raises `DeadProcess`."""
    with pytest.raises(DeadProcess):
        either.register("a", number)


def test_a_threads_number_is_no_processs(either: Registry) -> None:
    """The kernel's id of a thread other than the main thread is not accepted as a process."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(DeadProcess):
            either.register("a", thread.native_id)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("process", ["1", 1.5, True, object(), [1], SimpleNamespace(pid="1"), b"1"], ids=range(7))
def test_what_is_no_process_at_all(either: Registry, process: Any) -> None:
    """Any other object raises a `TypeError` that lists what can be registered."""
    with pytest.raises(TypeError, match=r"give a pid, a Popen, a multiprocessing.Process, a Thread, an asyncio.Task"):
        either.register("a", process)


def test_a_stopped_process_is_alive(either: Registry, child: Child) -> None:
    """A stopped process can be registered and found, and its entry stays."""
    child.stop()
    entry = either.register("a", child.pid).entry
    assert either.lookup("a") == entry
    child.resume()
    assert either.lookup("a") == entry


def test_a_thread_has_an_entry_while_it_runs(either: Registry) -> None:
    """The owner of a thread's entry is this process; the entry is removed when the thread ends."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    with pytest.raises(DeadProcess, match="register it while it runs"):
        either.register("a", thread)
    thread.start()
    try:
        assert either.register("a", thread).entry.pid == os.getpid()
        either.register("process")
        assert either.lookup("a") is not None
    finally:
        done.set()
        thread.join()
    eventually(lambda: either.lookup("a") is None)
    assert either.lookup("process") is not None
    with pytest.raises(DeadProcess, match="register it while it runs"):
        either.register("a", thread)


async def test_a_task_has_an_entry_while_it_runs(registry: Registry) -> None:
    """A task's entry is removed when the task is done, in a `Registry` and in an `AsyncRegistry`."""
    async with adsum.open_async(path=registry.folder, timeout=10) as other:
        task = asyncio.create_task(asyncio.sleep(60))
        registry.register("a", task)
        await other.register("b", task)
        assert len(registry) == 2
        task.cancel()
        await eventually_awaited(lambda: len(registry) == 0)
        with pytest.raises(DeadProcess, match="register it while it runs"):
            registry.register("a", task)
        with pytest.raises(DeadProcess):
            await other.register("a", task)


async def test_a_task_registers_itself(registry: Registry) -> None:
    """A task can register itself; its entry is removed when it returns."""
    async with adsum.open_async(path=registry.folder, timeout=10) as other:

        async def work() -> adsum.Entry | None:
            await other.register("worker", asyncio.current_task())
            return other.lookup("worker")

        assert await asyncio.create_task(work()) is not None
        await eventually_awaited(lambda: other.lookup("worker") is None)


async def test_a_cancelled_registration_is_undone(registry: Registry) -> None:
    """A registration whose await is cancelled leaves no entry: the client undoes it if it was too late to stop."""
    async with adsum.open_async(path=registry.folder, timeout=10) as other:
        await other.register("first")
        for number in range(20):
            asked = asyncio.create_task(other.register(f"a{number}"))
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        # Sent later on the same connection: every registration that was too late to stop has been made by now.
        await other.unregister("nobody")
        await eventually_awaited(lambda: len(registry) == 1)
        assert [id.local_id for id in registry] == ["first"]


def test_an_agent_registers_itself(either: Registry) -> None:
    """One process registers; another finds it, and finds it gone after it is killed."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('planner-1', capabilities={'planning'})")
        assert [entry.pid for entry in either.find(capability="planning")] == [agent.pid]
        agent.kill()
        assert either.find(capability="planning") == []
