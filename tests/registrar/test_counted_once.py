"""Additions and comparisons of several processes, with registrars killed meanwhile: each is applied exactly once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

import adsum
from adsum import Registry, Stale

from ..support import Child, eventually, kill_registrar

PROCESSES, TIMES = 4, 200


def add(folder: str) -> None:
    """Add 1 to a number of "counter", again and again."""
    with adsum.open(path=folder, timeout=30) as registry:
        print("ready")
        input()
        for _ in range(TIMES):
            registry.update("counter", add={"custom.done": 1, "resources.tokens": 0.5})
        print("done")


def add_async(folder: str) -> None:
    """Add 1, with several additions in flight at a time."""

    async def main() -> None:
        async with adsum.open_async(path=folder, timeout=30) as registry:
            print("ready")
            await asyncio.to_thread(input)

            async def some() -> None:
                for _ in range(TIMES // 8):
                    await registry.update("counter", add={"custom.done": 1})

            await asyncio.gather(*(some() for _ in range(8)))
            print("done")

    asyncio.run(main())


def swap(folder: str) -> None:
    """Add 1 by compare and swap; on `Stale` once more, from the entry that it carries."""
    with adsum.open(path=folder, timeout=30) as registry:
        print("ready")
        input()
        entry = registry["counter"]
        for _ in range(TIMES // 4):
            while True:
                try:
                    done = entry.metadata.custom.get("done", 0) + 1
                    entry = registry.update("counter", if_revision=entry.revision, custom={"done": done})
                    break
                except Stale as stale:
                    entry = stale.entry
        print("done")


def under_way(registry: Registry, total: int) -> None:
    """Wait until a registrar commits again, and a tenth of the changes more; or until all of them are made."""
    enough = min(registry.stats().revision + total // 10, 1 + total)
    eventually(lambda: registry.stats().revision >= enough, within=60)


def count(what: object, folder: Path, total: int) -> None:
    with contextlib.ExitStack() as stack, adsum.open(path=folder, timeout=30) as registry:
        registry.register("counter")
        children = [stack.enter_context(Child(what, folder)) for _ in range(PROCESSES)]  # type: ignore[arg-type]
        for child in children:
            assert child.line() == "ready"
        for child in children:
            child.say("go")
        kills = 0
        for _ in range(3):
            under_way(registry, total)
            kills += kill_registrar(folder) is not None
        assert kills
        for child in children:
            assert child.line(within=60) == "done"
        assert registry["counter"].metadata.custom == {"done": total}
        assert registry.stats().revision == 1 + total
        assert registry.audit() == []


@pytest.mark.parametrize("what", [add, add_async])
def test_no_addition_is_lost_or_doubled(registry_folder: Path, what: object) -> None:
    """Four processes that add 1 two hundred times each make 800, although registrars are killed meanwhile."""
    count(what, registry_folder, PROCESSES * TIMES)


def test_no_swap_overwrites_another(registry_folder: Path) -> None:
    """Processes that compare and swap, and decide again on `Stale`, lose no change either."""
    count(swap, registry_folder, PROCESSES * (TIMES // 4))
