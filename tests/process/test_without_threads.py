"""A process that cannot start a thread for a moment gets an explicit error, and its later calls work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry, SystemBusy

from ..support import eventually
from .people import sleeper


@pytest.fixture
def threads_refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Refuse every start of a thread, as the interpreter does where pthread_create(3) fails, or none."""
    start = threading.Thread.start
    refused = [False]

    def start_or_refuse(thread: threading.Thread) -> None:
        if refused[0]:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)

    def refuse(now: bool) -> None:
        refused[0] = now

    yield refuse
    refused[0] = False


CALLS: dict[str, Callable[[Registry, threading.Thread], object]] = {
    "register_nowait": lambda registry, _: registry.register_nowait("a").result(10),
    "register a thread": lambda registry, thread: registry.register("a", thread),
    "stand_by": lambda registry, _: registry.stand_by("a").result(10),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_thread_that_cannot_start(registry: Registry, threads_refused: Callable[[bool], None], call: str) -> None:
    """A call that needs a thread raises `SystemBusy` and changes nothing; the same call works a moment later."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    threads_refused(True)
    for _ in range(2):
        with pytest.raises(SystemBusy, match="cannot start a thread"):
            CALLS[call](registry, thread)
    assert registry.find() == []
    assert registry.register("here").entry.pid
    threads_refused(False)
    CALLS[call](registry, thread)
    assert registry.lookup("a")
    over.set()
    thread.join()


def test_no_thread_to_wait_for_a_threads_end(registry: Registry, threads_refused: Callable[[bool], None]) -> None:
    """Where the end of a thread cannot be waited for, its registration is undone."""
    registry.register_nowait("warm").result(10)
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads_refused(True)
    with pytest.raises(SystemBusy, match="cannot start a thread"):
        registry.register("a", threads[0])
    eventually(lambda: registry.lookup("a") is None)
    threads_refused(False)
    registry.register("a", threads[1])
    over.set()
    for thread in threads:
        thread.join()
    assert registry.lookup("a") is None


async def test_an_event_loop_without_threads(registry_folder: Path, threads_refused: Callable[[bool], None]) -> None:
    """An asynchronous registry raises `SystemBusy`, works later, and closes even then."""
    registry = adsum.open_async(path=registry_folder, timeout=10)
    threads_refused(True)
    with pytest.raises(SystemBusy, match="cannot start a thread"):
        await registry.register("a")
    threads_refused(False)
    await registry.register("a")
    watch = registry.watch()
    threads_refused(True)
    await registry.close()
    assert [event async for event in watch] == []
    threads_refused(False)


def test_ends_are_reported_without_threads(registry: Registry, threads_refused: Callable[[bool], None]) -> None:
    """The end of a registered thread is reported although no further thread can be started."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    registry.register("a", thread)
    threads_refused(True)
    over.set()
    thread.join()
    eventually(lambda: registry.stats().entries == 0)
    with sleeper() as process:
        registry.register("s", process)
