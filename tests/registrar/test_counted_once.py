"""Additions and comparisons of several processes, with registrars killed meanwhile: each is applied exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

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


class _LosesItsPeer:
    """A socket whose first send succeeds, and reports, when the reply is there, that the peer is gone."""

    def __init__(self, sock: socket.socket, meanwhile: Callable[[], object]) -> None:
        self._sock = sock
        self._meanwhile: Callable[[], object] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: bytes, flags: int = 0) -> int:
        sent = self._sock.send(data, flags)
        if (meanwhile := self._meanwhile) is not None:
            self._meanwhile = None
            assert select.select([self._sock.fileno()], [], [], 10)[0]
            meanwhile()
            raise ConnectionResetError(errno.ECONNRESET, "closed with unread data")
        return sent


def test_a_reply_that_is_there_is_read_before_the_request_is_sent_again(
    registry: Registry, registry_folder: Path
) -> None:
    """A registrar that dies with requests unread lets the next send of its client fail, while replies are in the
    socket. Their receipts may be gone."""
    registry.register("counter")
    with adsum.open(path=registry_folder) as other:
        other.register_nowait("warm").result()
        pipeline = other._client.pipeline
        connection = pipeline._connection
        assert connection is not None
        # A later commit drops the receipt of the reply that was sent.
        connection.sock = cast(Any, _LosesItsPeer(cast(Any, connection.sock), lambda: registry.register("later")))
        write = other._calls.amend("counter", {}, None, add={"custom.done": 1})
        other._calls.submit(write, 10, lambda done: done).result(10)
    assert registry["counter"].metadata.custom == {"done": 1}
