"""Local members: the entries of threads and tasks end when their thread or task does, however it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import AsyncRegistry, DeadProcess, Registry
from adsum._client.dial import START_SECONDS
from adsum._os import session

from ..support import Agent, eventually, kill_registrar, registrar_pid, stopped
from .people import Worker, gone_from_tables, no_registrar


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [None, RuntimeError("on purpose"), SystemExit(1)], ids=repr)
def test_a_thread_takes_its_entry_along(registry: Registry, error: BaseException | None) -> None:
    """The entry of a thread exists while the thread runs, and ends when the thread returns or raises."""
    worker = Worker()
    registry.register("thread", worker.thread)
    registry.register("process")
    assert registry.lookup("thread")
    worker.end(error)
    gone_from_tables(registry, 1)
    assert registry.lookup("process")


def test_a_thread_that_registers_itself(registry: Registry) -> None:
    """A thread can register itself under several ids; all its entries end with the thread."""

    def work() -> None:
        for number in range(5):
            registry.register(f"mine-{number}", threading.current_thread())
        assert len(registry) == 5

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gone_from_tables(registry)


def test_requests_that_grow_too_old_do_not_end_it(registry: Registry, registry_folder: Path) -> None:
    """The registrar is stopped, and the process sends it more than its socket takes, until the calls expire. The entry
    of its thread is there afterwards, as it was, and the session goes on."""
    worker = Worker()
    entry = registry.register("thread", worker.thread).entry
    with stopped(registry_folder):
        data = {"text": "x" * 2_000}
        calls = [registry.register_nowait(f"{number}", custom=data, timeout=0.2) for number in range(400)]
        for call in calls:
            with pytest.raises(adsum.Timeout):
                call.result(10)
    registry.register_nowait("later", timeout=10).result(10)
    assert registry.lookup("thread") == entry
    worker.end()
    gone_from_tables(registry, 1)


def test_many_threads_end_one_by_one(registry: Registry) -> None:
    """Of many registered threads, exactly those that have ended lose their entries."""
    workers = [Worker() for _ in range(30)]
    for number, worker in enumerate(workers):
        registry.register(f"thread-{number}", worker.thread)
    for worker in workers[::2]:
        worker.end()
    gone_from_tables(registry, 15)
    assert {entry.process_id.local_id for entry in registry.find()} == {
        f"thread-{number}" for number in range(1, 30, 2)
    }
    for worker in workers[1::2]:
        worker.end()
    gone_from_tables(registry)


def test_a_later_holder_of_the_id_is_left_alone(registry: Registry) -> None:
    """When a thread ends whose entry was unregistered before, the new holder of the id keeps it."""
    worker = Worker()
    registry.register("name", worker.thread)
    registry.unregister("name")
    held = registry.register("name").entry
    worker.end()
    # Sent after the thread's end, on the same connection as the request that would have removed the entry.
    registry.register_nowait("sign").result()
    assert registry["name"] == held


def test_threads_and_tasks_that_are_over_are_refused(registry: Registry) -> None:
    """A thread or task that has ended or was never started cannot be registered."""
    worker = Worker()
    worker.end()
    for thread in (worker.thread, threading.Thread(target=print)):
        with pytest.raises(DeadProcess):
            registry.register("thread", thread)

    async def over() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        with pytest.raises(DeadProcess):
            registry.register("task", task)

    asyncio.run(over())


def test_the_death_of_the_process_ends_its_members(registry: Registry, registry_folder: Path) -> None:
    """The entries of a process's threads end when the process is killed."""
    with Agent(registry_folder) as agent:
        agent.do("import threading; registry.register('thread', threading.main_thread())")
        assert registry.lookup("thread")
        agent.kill()
        assert registry.lookup("thread") is None
        gone_from_tables(registry)


Ending = Callable[["asyncio.Task[None]"], None]


def _return(task: asyncio.Task[None]) -> None:
    # The future that the task waits for.
    task.get_loop().call_soon(lambda: _waited_for(task).set_result(None))


def _raise(task: asyncio.Task[None]) -> None:
    task.get_loop().call_soon(lambda: _waited_for(task).set_exception(ValueError("on purpose")))


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


_waits: dict[asyncio.Task[None], asyncio.Future[None]] = {}


def _waited_for(task: asyncio.Task[None]) -> asyncio.Future[None]:
    return _waits.pop(task)


async def a_task() -> asyncio.Task[None]:
    """A task that runs until its future is set."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await future

    task = asyncio.create_task(wait())
    _waits[task] = future
    await asyncio.sleep(0)
    return task


async def gone(registry: AsyncRegistry, entries: int = 0) -> None:
    await asyncio.to_thread(eventually, lambda: registry.stats().entries == entries)


@pytest.mark.parametrize("ending", [_return, _raise, _cancel])
async def test_a_task_takes_its_entry_along(registry_folder: Path, ending: Ending) -> None:
    """The entry of a task exists while the task runs, and ends when the task returns, raises or is cancelled."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        task = await a_task()
        await registry.register("task", task)
        await registry.register("process")
        assert registry.lookup("task")
        ending(task)
        await asyncio.wait([task])
        await gone(registry, 1)
        assert registry.lookup("process")
        _waits.pop(task, None)
        if not task.cancelled():
            task.exception()


def test_a_task_whose_loop_is_closed(registry: Registry) -> None:
    """A task that still waits when its loop is closed never runs again, so its entry ends."""
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(a_task())
    registry.register("task", task)
    loop.run_until_complete(asyncio.sleep(0))
    assert registry.lookup("task")
    loop.close()
    gone_from_tables(registry)
    _forget(task)


def test_a_task_whose_loop_is_closed_at_once(registry: Registry) -> None:
    """The entry also ends if the loop did not run between the registration of the task and closing the loop."""
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(a_task())
    registry.register("task", task)
    loop.close()
    gone_from_tables(registry)
    _forget(task)


def _forget(task: asyncio.Task[None]) -> None:
    _waits.pop(task, None)
    # The loop is closed, so asyncio would only log that the task was never finished.
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_a_task_that_is_garbage(registry_folder: Path) -> None:
    """A task without references that waits for a future that is never set is collected, and its entry ends."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        task = await a_task()
        await registry.register("task", task)
        _forget(task)
        del task
        # Repeated, because the registering thread may hold a reference for a moment longer.
        await asyncio.to_thread(eventually, lambda: gc.collect() >= 0 and registry.stats().entries == 0)


async def test_tasks_that_are_over_leave_nothing_in_the_loop(registry_folder: Path) -> None:
    """S4: the loop keeps no timers for registered tasks that have ended."""

    def timers() -> int:
        gc.collect()
        return sum(isinstance(thing, asyncio.TimerHandle) and not thing.cancelled() for thing in gc.get_objects())

    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        before = timers()
        for number in range(100):
            await asyncio.create_task(_register_itself(registry, number))
        await gone(registry)
        assert timers() < before + 10


async def _register_itself(registry: AsyncRegistry, number: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    await registry.register(f"task-{number}", task)


def test_closing_ends_threads_and_tasks_but_not_processes(registry: Registry, registry_folder: Path) -> None:
    """Closing a registry ends the entries of threads made through it; those of processes, and those made through
    another registry, stay."""
    worker = Worker()
    with adsum.open(path=registry_folder, timeout=10) as closing:
        closing.register("closed-thread", worker.thread)
        closing.register("process")
        registry.register("other-thread", worker.thread)
    gone_from_tables(registry, 2)
    assert registry.lookup("process")
    assert registry.lookup("other-thread")
    worker.end()
    gone_from_tables(registry, 1)


def test_closing_while_no_registrar_runs(registry: Registry, registry_folder: Path) -> None:
    """The entries of threads end when their registry is closed, even if no registrar ran at that time."""
    worker = Worker()
    with adsum.open(path=registry_folder, timeout=10) as closing:
        closing.register("thread", worker.thread)
        with no_registrar(registry_folder):
            closing.close()
    registry.register("starts a registrar")
    eventually(lambda: registry.lookup("thread") is None)
    worker.end()


def test_threads_outlive_their_registrar(registry: Registry, registry_folder: Path) -> None:
    """Entries of threads stay when the registrar is killed; the next registrar removes them when the thread ends."""
    workers = [Worker(), Worker()]
    for number, worker in enumerate(workers):
        registry.register(f"thread-{number}", worker.thread)
    for _ in range(3):
        kill_registrar(registry_folder)
        assert len(registry) == 2
        eventually(lambda: registry.stats().registrar_pid is not None)
    workers[0].end()
    gone_from_tables(registry, 1)
    kill_registrar(registry_folder)
    workers[1].end()
    gone_from_tables(registry)


def test_a_session_closed_while_no_registrar_can_be_had_is_over_at_once(registry: Registry) -> None:
    """A closed registry's session ends at once, even while its thread still tries to connect to a registrar."""
    worker = Worker()
    try:
        with adsum.open(path=registry.folder, timeout=10) as closing:
            closing.register("thread", worker.thread)
            pipeline = closing._client.pipeline
            with no_registrar(registry.folder):
                eventually(lambda: pipeline._connection is None)
                closing.close()
                assert session.is_over(registry.folder, pipeline._session.token)
        # The thread of a closed registry starts no registrar, although one could start now.
        assert pipeline._thread is not None
        pipeline._thread.join(START_SECONDS)
        assert not pipeline._thread.is_alive()
        assert registrar_pid(registry.folder) is None
        registry.register("process")
        gone_from_tables(registry, 1)
    finally:
        worker.end()
