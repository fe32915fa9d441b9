"""Closing a registry: what it ends, what it leaves, and which error later calls raise."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import ProcessId, Registry, RegistryClosed
from tests.support import Opener, eventually

CALLS: dict[str, Callable[[Registry], object]] = {
    "lookup": lambda registry: registry.lookup("a"),
    "getitem": lambda registry: registry["a"],
    "in": lambda registry: ProcessId("default", "node", "a") in registry,
    "len": len,
    "iter": iter,
    "find": lambda registry: registry.find(),
    "count": lambda registry: registry.count(),
    "choose": lambda registry: registry.choose(),
    "stats": lambda registry: registry.stats(),
    "audit": lambda registry: registry.audit(),
    "departures": lambda registry: registry.departures(),
    "register": lambda registry: registry.register("b"),
    "register_many": lambda registry: registry.register_many([("b", {})]),
    "get_or_register": lambda registry: registry.get_or_register("b"),
    "update": lambda registry: registry.update("a"),
    "update_health": lambda registry: registry.update_health("a", "healthy"),
    "unregister": lambda registry: registry.unregister("a"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_registry_says_so(either: Registry, call: str) -> None:
    """Every call on a closed registry raises `RegistryClosed`, whose message advises to open another registry."""
    either.register("a")
    either.close()
    with pytest.raises(RegistryClosed, match="open another"):
        CALLS[call](either)


def test_closing_twice_is_fine(either: Registry) -> None:
    """A second `close` does nothing."""
    either.close()
    either.close()


def test_entries_of_a_process_outlive_the_handle(opener: Opener) -> None:
    """Entries of processes stay when the registry object that registered them is closed."""
    opened, other = opener(), opener()
    opened.register("a")
    opened.close()
    assert other.lookup("a") is not None
    assert other.unregister("a")


def test_entries_of_a_thread_end_with_the_handle(opener: Opener) -> None:
    """Closing a registry ends the entries of threads that were made through it, and no others."""
    opened, other = opener(), opener()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        opened.register("process")
        opened.register("thread", thread)
        opened.close()
        eventually(lambda: other.lookup("thread") is None)
        assert other.lookup("process") is not None
    finally:
        done.set()
        thread.join()


def test_one_of_two_handles_closes(opener: Opener) -> None:
    """Two registry objects of one process on one folder are independent: closing one leaves the other usable."""
    first, second = opener(), opener()
    first.register("a")
    first.close()
    assert second.lookup("a") is not None
    second.register("b")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_closing_gives_back_every_descriptor(registry_folder: Path, kind: str) -> None:
    """After `close` the process has no descriptor of the registry left, although the object still exists."""

    def descriptors() -> set[tuple[str, str]]:
        place = Path("/proc/self/fd")
        return {(name, os.readlink(place / name)) for name in os.listdir(place) if (place / name).is_symlink()}

    async def asynchronous() -> object:
        opened = adsum.open_async(path=registry_folder, timeout=10)
        await opened.register("a")
        opened.find()
        await opened.close()
        return opened

    def synchronous() -> object:
        opened = adsum.open(path=registry_folder, timeout=10)
        opened.register("a")
        opened.register_nowait("b").result(10)
        opened.find()
        opened.close()
        return opened

    before = descriptors()
    opened = asyncio.run(asynchronous()) if kind == "async" else synchronous()
    assert opened is not None
    assert descriptors() - before == set()


def test_the_block_closes(opener: Opener) -> None:
    """A registry is a context manager that closes itself at the end of the block."""
    with opener() as registry:
        registry.register("a")
    with pytest.raises(RegistryClosed):
        registry.lookup("a")


def test_what_is_under_way_ends_explicitly(registry: Registry) -> None:
    """Closing the registry ends each pending registration: with its result or `RegistryClosed`. No future hangs."""
    asked = [registry.register_nowait(f"a{number}") for number in range(50)]
    registry.close()
    for future in asked:
        error = future.exception(timeout=10)
        assert error is None or isinstance(error, RegistryClosed)


READS: dict[str, Callable[[Registry], object]] = {
    "lookup": lambda registry: registry.lookup("a"),
    "find": lambda registry: registry.find(),
    "count": lambda registry: registry.count(),
    "stats": lambda registry: registry.stats(),
}


def _read_until_closed(registry: Registry, read: str, begun: threading.Barrier, errors: list[type]) -> None:
    begun.wait()
    try:
        while True:
            READS[read](registry)
    except Exception as error:  # noqa: BLE001 - the test says which errors there may be
        errors.append(type(error))


@pytest.mark.parametrize("read", READS)
def test_closing_while_threads_read(opener: Opener, read: str) -> None:
    """A thread that reads while another one closes the registry gets answers, then `RegistryClosed`, and no other
    error. The folder can be opened again at once."""
    opener().register("a")
    for _ in range(20):
        opened, begun, errors = opener(), threading.Barrier(4), list[type]()
        threads = [threading.Thread(target=_read_until_closed, args=(opened, read, begun, errors)) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait()
        opened.close()
        for thread in threads:
            thread.join()
        assert errors == [RegistryClosed] * 3
