"""Requests of a load: the next one is made while the registrar has the one before, and the order stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from adsum import _wire as wire
from adsum._bridge.one_ahead import OneAhead


class Registrar:
    """Answers a request when the test says so."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.may_answer = asyncio.Event()

    async def send(self, request: wire.Mirror) -> None:
        (host,) = request.hosts
        self.log.append(f"sent {host.host}")
        await self.may_answer.wait()
        self.log.append(f"answered {host.host}")

    def requests(self, *hosts: str) -> Iterator[wire.Mirror]:
        for host in hosts:
            self.log.append(f"made {host}")
            yield wire.Mirror(hosts=[wire.RemoteHost(host, "gone")])


async def test_the_next_is_made_before_the_answer_and_sent_after_it() -> None:
    registrar = Registrar()

    async def load() -> None:
        async with OneAhead(registrar.send) as ahead:
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
        async with OneAhead(registrar.send) as ahead:
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
    async def send(_request: wire.Mirror) -> None:
        raise OSError("closed")

    with pytest.raises(OSError, match="closed"):
        async with OneAhead(send) as ahead:
            await ahead.send(Registrar().requests("a", "b", "c"))


async def test_a_load_that_is_cancelled_ends() -> None:
    registrar = Registrar()

    async def load() -> None:
        async with OneAhead(registrar.send) as ahead:
            await ahead.send(registrar.requests("a", "b"))

    loading = asyncio.create_task(load())
    await asyncio.sleep(0.01)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert registrar.log == ["made a", "sent a", "made b"]
