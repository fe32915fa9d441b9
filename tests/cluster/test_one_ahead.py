"""Requests of a load: the next one is made while the registrar has the one before, and the order stays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from adsum import _wire as wire
from adsum._bridge.one_ahead import LookaheadSender, read_ahead


class Registrar:
    """Answers a request when the test says so."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.may_answer = asyncio.Event()

    async def send(self, request: wire.ApplyRemote) -> None:
        (host,) = request.hosts
        self.log.append(f"sent {host.host}")
        await self.may_answer.wait()
        self.log.append(f"answered {host.host}")

    def requests(self, *hosts: str) -> Iterator[wire.ApplyRemote]:
        for host in hosts:
            self.log.append(f"made {host}")
            yield wire.ApplyRemote(hosts=[wire.RemoteHost(host, "gone")])


async def test_the_next_is_made_before_the_answer_and_sent_after_it() -> None:
    """While a request is in flight, the next one is made and not sent."""
    registrar = Registrar()

    async def load() -> None:
        async with LookaheadSender(registrar.send) as ahead:
            await ahead.send(registrar.requests("a", "b"))
            await ahead.send(registrar.requests("c"))

    loading = asyncio.create_task(load())
    for _ in range(10):
        await asyncio.sleep(0)
    assert registrar.log == ["made a", "sent a", "made b"]
    registrar.may_answer.set()
    await loading
    assert [what for what in registrar.log if not what.startswith("made")] == [
        f"{what} {host}" for host in "abc" for what in ("sent", "answered")
    ]


async def test_an_error_waits_for_what_was_sent() -> None:
    """A load that begins anew asks the tables what they have: nothing of the one before may come after that."""
    registrar = Registrar()

    async def load() -> None:
        async with LookaheadSender(registrar.send) as ahead:
            await ahead.send(registrar.requests("a"))
            raise LookupError("etcd")

    loading = asyncio.create_task(load())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not loading.done()
    registrar.may_answer.set()
    with pytest.raises(LookupError):
        await loading
    assert registrar.log[-1] == "answered a"


async def test_an_error_of_the_registrar_ends_it() -> None:
    """An error of sending reaches the caller of the load."""

    async def send(_request: wire.ApplyRemote) -> None:
        raise OSError("closed")

    with pytest.raises(OSError, match="closed"):
        async with LookaheadSender(send) as ahead:
            await ahead.send(Registrar().requests("a", "b", "c"))


async def test_a_load_that_is_cancelled_ends() -> None:
    """A cancelled load sends nothing more."""
    registrar = Registrar()

    async def load() -> None:
        async with LookaheadSender(registrar.send) as ahead:
            await ahead.send(registrar.requests("a", "b"))

    loading = asyncio.create_task(load())
    await asyncio.sleep(0.01)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert registrar.log == ["made a", "sent a", "made b"]


async def test_the_next_page_is_asked_for_while_the_one_before_is_used() -> None:
    """A page is requested while its predecessor is in use, one page ahead."""
    asked: list[int] = []

    async def pages() -> AsyncIterator[int]:
        for number in (1, 2, 3):
            asked.append(number)
            yield number

    seen = []
    async with contextlib.aclosing(read_ahead(pages())) as ahead:
        async for page in ahead:
            await asyncio.sleep(0)
            seen.append((page, max(asked)))
    assert seen == [(1, 2), (2, 3), (3, 3)]


async def test_an_error_of_a_page_comes_after_the_pages_before() -> None:
    """The pages before a failed one are read first."""

    async def pages() -> AsyncIterator[int]:
        yield 1
        raise LookupError("compacted")

    async with contextlib.aclosing(read_ahead(pages())) as ahead:
        assert await anext(ahead) == 1
        with pytest.raises(LookupError):
            await anext(ahead)


async def test_what_is_left_early_asks_for_nothing_more() -> None:
    """A reader that leaves early ends the source of the pages."""
    ended = asyncio.Event()

    async def pages() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
            yield 2
        finally:
            ended.set()

    async with contextlib.aclosing(read_ahead(pages())) as ahead:
        async for _ in ahead:
            await asyncio.sleep(0)
            break
    assert ended.is_set()
