"""``heartbeat="loop"``: the event loop sends heartbeats without code in the agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AsyncRegistry, Entry, InvalidMetadata, Registry
from tests.support import Agent, Child, eventually, eventually_awaited


def shows(registry: Registry | AsyncRegistry, status: str, source: str) -> bool:
    entry = registry.lookup("a")
    return entry is not None and (entry.metadata.health_status, entry.health_source) == (status, source)


async def _get_or_registered(registry: AsyncRegistry) -> Entry:
    entry, _ = await registry.get_or_register("a", heartbeat="loop")
    return entry


async def _stood_by(registry: AsyncRegistry) -> Entry:
    return (await registry.stand_by("a", heartbeat="loop")).entry


async def _registered(registry: AsyncRegistry) -> Entry:
    return (await registry.register("a", heartbeat="loop")).entry


@pytest.mark.parametrize("come", [_registered, _get_or_registered, _stood_by])
async def test_a_blocked_loop_shows(registry_folder: Path, come: Callable[[AsyncRegistry], Awaitable[Entry]]) -> None:
    """With ``heartbeat="loop"`` a member with a blocked loop is degraded, and healthy again when the loop continues."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        with Agent(registry_folder) as agent:
            entry = await come(registry)
            # This blocks the loop until the other process has seen the degraded status.
            (seen,) = agent.value("registry.wait_for(health_status='degraded', timeout=9)")
            assert (seen.process_id, seen.health_source) == (entry.process_id, "registrar")
            await eventually_awaited(lambda: shows(registry, "healthy", "process"))


async def test_a_loop_that_goes_round_is_never_late(registry_folder: Path) -> None:
    """A running loop sends heartbeats in time without code in the agent."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        await registry.register("a", asyncio.current_task(), heartbeat="loop")
        before = registry["a"].metadata.last_health_check
        await eventually_awaited(lambda: registry["a"].metadata.last_health_check - before > timedelta(seconds=2))
        assert registry["a"].revision == 1


async def _unregistered(registry: AsyncRegistry) -> None:
    await registry.unregister("a")
    await registry.register("a", heartbeat=1.0)


async def _closed(registry: AsyncRegistry) -> None:
    await registry.close()


async def _left_open(registry: AsyncRegistry) -> None:
    """End the loop without closing the registry."""


@pytest.mark.parametrize("end", [_unregistered, _closed, _left_open])
def test_the_loops_heartbeats_end_with_their_entry(registry: Registry, end: Callable[..., Any]) -> None:
    """The loop's heartbeats stop when the entry, the registry or the loop ends; a successor gets none of them."""
    opened: list[AsyncRegistry] = []
    over = threading.Event()

    async def run() -> None:
        opened.append(adsum.open_async(path=registry.folder, timeout=10))
        await opened[0].register("a", heartbeat="loop")
        await end(opened[0])
        if end is not _left_open:
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        eventually(lambda: shows(registry, "degraded", "registrar"))
        # The handler stops after the first heartbeat that is refused.
        outcomes = registry.stats().outcomes
        assert outcomes.get("stale", 0) + outcomes.get("not_registered", 0) <= 1
    finally:
        over.set()
        thread.join()
        asyncio.run(opened[0].close())


def test_only_a_loop_gives_a_loops_sign(registry: Registry, registry_folder: Path) -> None:
    """Without an event loop, or for another process, ``heartbeat="loop"`` is refused with an error that says why."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.heartbeat.*AsyncRegistry"):
        registry.register("a", heartbeat="loop")  # type: ignore[arg-type]

    async def for_another() -> None:
        async with adsum.open_async(path=registry_folder, timeout=10) as opened:
            with Child("input()") as child, pytest.raises(ValueError, match="event loop"):
                await opened.register("a", child.pid, heartbeat="loop")

    asyncio.run(for_another())
    assert registry.lookup("a") is None
