"""Processes whose monotonic clock is not the registrar's: another time namespace, a restored container."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.support import Child, stopped

from .namespace import in_time_namespace


def write_once(folder: str) -> None:
    """In a child: every way to write, with the registry's own bound; and a timeout, which is not applied later."""
    print(time.monotonic_ns(), flush=True)
    with adsum.open(path=folder) as registry:
        registry.register("waits")
        registry.register_nowait("does not wait").result()
        asyncio.run(_await(folder))
        print("written", flush=True)
        input()
        try:
            registry.register("too late", timeout=0.2)
        except adsum.Timeout:
            print("timeout", flush=True)
        input()


async def _await(folder: str) -> None:
    async with adsum.open_async(path=folder) as registry:
        await registry.register("awaits")


@pytest.mark.parametrize("seconds", [-600, 600])
def test_writes_from_another_time_namespace(seconds: int, registry: Registry, registry_folder: Path) -> None:
    """A deadline means the same instant in the registrar's time namespace and in the client's."""
    unshare = in_time_namespace(seconds)
    registry.register("first")
    with Child(write_once, registry_folder, prefix=unshare) as child:
        assert abs(int(child.line()) - time.monotonic_ns() - seconds * 10**9) < 60 * 10**9
        child.expect("written")
        assert registry.count() == 4
        with stopped(registry_folder):
            child.say()
            child.expect("timeout")
        registry.update_health("first", "degraded")
        assert registry.lookup("too late") is None
        child.say()
