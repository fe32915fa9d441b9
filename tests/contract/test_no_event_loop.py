"""An awaited call that no event loop of asyncio drives is refused before it does anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AsyncRegistration, AsyncRegistry, NoEventLoop, Registry

Made = Callable[[AsyncRegistry, AsyncRegistration], "Coroutine[Any, Any, object]"]

CALLS: dict[str, Made] = {
    "register": lambda registry, _: registry.register("new"),
    "register_many": lambda registry, _: registry.register_many([("new", {})]),
    "get_or_register": lambda registry, _: registry.get_or_register("new"),
    "stand_by": lambda registry, _: registry.stand_by("new"),
    "update": lambda registry, _: registry.update("there", custom={"changed": True}),
    "update_health": lambda registry, _: registry.update_health("there", "degraded"),
    "unregister": lambda registry, _: registry.unregister("there"),
    "heartbeat": lambda registry, _: registry.heartbeat("there"),
    "wait_for": lambda registry, _: registry.wait_for("absent", timeout=0),
    "close": lambda registry, _: registry.close(),
    "registration.update": lambda _, there: there.update(custom={"changed": True}),
    "registration.update_health": lambda _, there: there.update_health("degraded"),
    "registration.unregister": lambda _, there: there.unregister(),
    "registration.heartbeat": lambda _, there: there.heartbeat(),
    "registration.hand_over": lambda _, there: there.hand_over(1),
    "watch.next": lambda registry, _: registry.watch().next(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_a_loop(registry: Registry, call: str) -> None:
    """It raises `NoEventLoop`, which says what to do, changes nothing, and works later in a loop."""
    with asyncio.Runner() as runner:
        opened = adsum.open_async(path=registry.folder, timeout=10)

        async def there() -> AsyncRegistration:
            return await opened.register("there", heartbeat=60.0)

        registration = runner.run(there())
        revision = registry.stats().revision
        with pytest.raises(NoEventLoop, match=r"adsum\.open.*to_thread"):
            CALLS[call](opened, registration).send(None)
        assert registry.stats().revision == revision
        assert [entry.process_id.local_id for entry in registry.find()] == ["there"]

        async def later() -> None:
            await registration.update(custom={"later": True})
            await opened.close()

        runner.run(later())


def test_register_nowait_without_a_loop(registry_folder: Path) -> None:
    """It raises in the call, and makes no registry."""
    opened = adsum.open_async(path=registry_folder)
    with pytest.raises(NoEventLoop):
        opened.register_nowait("new")
    assert not registry_folder.exists()
    asyncio.run(opened.close())
