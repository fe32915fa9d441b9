"""S2 for local members: a process does not find its own ended threads and tasks, even if the tables still have them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AsyncRegistry, Registry

from ..support import eventually, eventually_awaited, stopped
from .people import Worker, gone_from_tables


def everywhere(registry: Registry | AsyncRegistry, name: str) -> list[adsum.Entry]:
    """The entries that each kind of read finds, if one member has the capability ``c``."""
    each = [registry.lookup(name), *registry.find(capability="c"), *registry.list_all(), registry.choose()]
    return [entry for entry in each if entry is not None]


def test_its_own_process_knows_first_that_a_thread_is_over(registry: Registry, registry_folder: Path) -> None:
    """S2: a process that has joined a thread does not find its entry, even before the registrar has removed it."""
    worker = Worker()
    registry.register("thread", worker.thread, capabilities={"c"})
    for _ in range(2):
        assert [entry.process_id.local_id for entry in everywhere(registry, "thread")] == ["thread"] * 4
    with stopped(registry_folder):
        worker.end()
        assert everywhere(registry, "thread") == []
        assert registry.count() == registry.count(capability="c") == 0
    gone_from_tables(registry)
    eventually(lambda: not registry._reader.local_members)


@pytest.mark.parametrize("how", ["returned", "cancelled", "raised"])
async def test_its_own_process_knows_first_that_a_task_is_over(registry_folder: Path, how: str) -> None:
    """S2: a process that has awaited a task does not find its entry, however the task ended."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        over = asyncio.Event()

        async def work() -> None:
            await over.wait()
            if how == "raised":
                raise RuntimeError("on purpose")

        task = asyncio.create_task(work())
        await registry.register("task", task, capabilities={"c"})
        assert len(everywhere(registry, "task")) == 4
        with stopped(registry_folder):
            over.set()
            if how == "cancelled":
                task.cancel()
            await asyncio.wait([task])
            if how == "raised":
                assert task.exception()
            assert everywhere(registry, "task") == []
            assert registry.count() == 0
        await eventually_awaited(lambda: registry.stats().entries == 0 and not registry._reader.local_members)


def test_a_child_knows_nothing_of_its_parents_threads(registry: Registry) -> None:
    """After a fork the child does not have the parent's threads, but finds their entries, because they are alive."""
    worker = Worker()
    registry.register("thread", worker.thread)
    pid = os.fork()
    if not pid:
        os._exit(0 if registry.lookup("thread") and registry.count() == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    worker.end()


READS: dict[str, Callable[[Registry], bool]] = {
    "lookup": lambda registry: registry.lookup("thread") is None,
    "find": lambda registry: registry.find(capability="c") == [],
    "count": lambda registry: registry.count() == 0,
}


@pytest.mark.parametrize("read", READS)
def test_an_ended_thread_that_is_removed_during_a_read(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """S2: a read finds no entry of a thread that has ended, also where the tables still had it when the read looked,
    and its entry is removed, and its end forgotten, before the read returns."""
    worker = Worker()
    registry.register("thread", worker.thread, capabilities={"c"})
    read_tables = registry._reader._tables.read
    resume = ExitStack()

    def and_resume(look: Any, otherwise: Any) -> Any:
        found = read_tables(look, otherwise)
        resume.close()
        eventually(lambda: not registry._reader.local_members)
        return found

    with resume:
        resume.enter_context(stopped(registry.folder))
        worker.end()
        monkeypatch.setattr(registry._reader._tables, "read", and_resume)
        assert READS[read](registry)
