"""An awaited call that no event loop of asyncio drives is refused before it does anything."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
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
    "update_many": lambda registry, _: registry.update_many([("there", {"custom": {"changed": True}})]),
    "unregister_many": lambda registry, _: registry.unregister_many(["there"]),
    "heartbeat": lambda registry, _: registry.heartbeat("there"),
    "wait_for": lambda registry, _: registry.wait_for("absent", timeout=0),
    "wait_for, found at once": lambda registry, _: registry.wait_for("there", timeout=0),
    "wait_until_gone": lambda registry, _: registry.wait_until_gone("there", timeout=0),
    "wait_until_gone, at once": lambda registry, _: registry.wait_until_gone("absent", timeout=0),
    "claim": lambda registry, _: waited(registry.claim("there")),
    "claim.__aenter__": lambda registry, _: registry.claim("there").__aenter__(),
    "follow.wait": lambda registry, _: registry.follow().wait(lambda entries: "there" in entries),
    "catch_up": lambda registry, _: registry.catch_up(timeout=0.1),
    "claim everywhere": lambda registry, _: waited(registry.claim("there", everywhere=True)),
    "close": lambda registry, _: registry.close(),
    "registration.update": lambda _, there: there.update(custom={"changed": True}),
    "registration.update_health": lambda _, there: there.update_health("degraded"),
    "registration.unregister": lambda _, there: there.unregister(),
    "registration.heartbeat": lambda _, there: there.heartbeat(),
    "registration.hand_over": lambda _, there: there.hand_over(1),
    "registration.published": lambda _, there: there.published(timeout=0.1),
    "watch.next": lambda registry, _: registry.watch().next(),
}


async def waited(call: Awaitable[object]) -> object:
    return await call


# What a test reaches through one of the calls above, and what ends a thing of this loop, which needs none.
OTHERS = {
    "AsyncRegistry.__aenter__",
    "AsyncRegistry.__aexit__",
    "AsyncRegistration.__aenter__",
    "AsyncRegistration.__aexit__",
    "AsyncRegistrations.__aenter__",
    "AsyncRegistrations.__aexit__",
    "AsyncRegistrations.unregister",
    "AsyncWatch.__aenter__",
    "AsyncWatch.__aexit__",
    "AsyncWatch.__anext__",
    "AsyncLiveEntries.__aenter__",
    "AsyncLiveEntries.__aexit__",
    "AsyncClaimCall.__aexit__",
    "AsyncClaim.__aenter__",
    "AsyncClaim.__aexit__",
    "AsyncClaim.release",
}
NAMES = {
    "AsyncRegistry": "",
    "AsyncRegistration": "registration.",
    "AsyncWatch": "watch.",
    "AsyncLiveEntries": "follow.",
    "AsyncClaimCall": "claim.",
}


def test_every_awaited_call_is_here() -> None:
    """A call that is added is tried without a loop too."""
    missing = [
        f"{name}.{call}"
        for name in adsum.__all__
        if name.startswith("Async") and inspect.isclass(type_ := getattr(adsum, name))
        for call in dir(type_)
        if inspect.iscoroutinefunction(getattr(type_, call)) and not re.match("_[^_]", call)
        if f"{name}.{call}" not in OTHERS and NAMES.get(name, name) + call not in CALLS
    ]
    assert missing == []


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
