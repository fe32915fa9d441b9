"""`AsyncRegistry` under event loops that are not asyncio's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import NoEventLoop, Registry

from ..support import Child

pytestmark = pytest.mark.real


async def _refused(folder: Path) -> None:
    registry = adsum.open_async(path=folder, timeout=10)
    with pytest.raises(NoEventLoop, match="to_thread"):
        await registry.register("me")
    with pytest.raises(NoEventLoop):
        registry.register_nowait("me")
    watch = registry.watch()
    with pytest.raises(NoEventLoop):
        await watch.next()
    watch.close()


async def _used(folder: Path) -> None:
    async with adsum.open_async(path=folder, timeout=10) as registry, registry.watch("me") as watch:
        registration = await registry.register("me", heartbeat="loop")
        assert registry["me"] == registration.entry
        assert (await watch.next()).kind == "registered"
        assert await registration.unregister()


def test_trio(registry_folder: Path) -> None:
    """Under trio an awaited call is refused, and nothing was done."""
    importlib.import_module("trio").run(_refused, registry_folder)
    assert not registry_folder.exists()


def test_threads_under_trio(registry: Registry) -> None:
    """What the error advises works: a `Registry` in a thread of trio's."""
    trio = importlib.import_module("trio")

    async def main() -> Any:
        return await trio.to_thread.run_sync(registry.register, "me")

    registration = trio.run(main)
    assert registry["me"] == registration.entry


def test_anyio_on_trio(registry_folder: Path) -> None:
    """So it is with anyio on trio."""
    importlib.import_module("anyio").run(_refused, registry_folder, backend="trio")
    assert not registry_folder.exists()


def test_anyio_on_asyncio(registry_folder: Path) -> None:
    """With anyio on asyncio every call works."""
    importlib.import_module("anyio").run(_used, registry_folder, backend="asyncio")


def test_uvloop(registry_folder: Path) -> None:
    """With uvloop every call works."""
    with Child(_under_uvloop, registry_folder) as child:
        assert child.wait() == 0


def _under_uvloop(folder: str) -> None:
    # In a process of its own: uvloop keeps a pipe for as long as that lives.
    importlib.import_module("uvloop").run(_used(Path(folder)))
