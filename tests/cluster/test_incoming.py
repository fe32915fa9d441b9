"""The responses of a watch are read ahead, and taken together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adsum._bridge import response_buffer
from adsum._bridge.freshness import Freshness
from adsum._bridge.response_buffer import HeardResponse, ResponseBuffer
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import Compacted

PREFIX = b"/incoming/"


@asynccontextmanager
async def _incoming(client: EtcdClient, since: int) -> AsyncIterator[ResponseBuffer]:
    async with (
        client.watch(PREFIX, prefix=True, start_revision=since + 1) as watch,
        ResponseBuffer(watch, Freshness(client, PREFIX)) as opened,
    ):
        yield opened


async def _put(client: EtcdClient, count: int) -> list[int]:
    """The revisions of so many changes, each a transaction of its own."""
    return [await client.put(PREFIX + b"%d" % number, b"x") for number in range(count)]


async def _arrived(opened: ResponseBuffer, revision: int) -> None:
    async with asyncio.timeout(30):
        while not opened._waiting or opened._waiting[-1].response.revision < revision:  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.01)


def _revisions(taken: list[HeardResponse]) -> list[int]:
    return [change.item.mod_revision for one in taken for change in one.response.changes]


async def test_what_arrives_meanwhile_is_taken_at_once(client: EtcdClient) -> None:
    """All responses that arrived while nothing was taken come together, in order, and none comes twice."""
    since = await client.put(PREFIX, b"begin")
    async with _incoming(client, since) as opened:
        revisions = await _put(client, 20)
        await _arrived(opened, revisions[-1])
        assert _revisions(await opened.take()) == revisions
        more = await _put(client, 1)
        await _arrived(opened, more[-1])
        assert _revisions(await opened.take()) == more


async def test_the_end_of_a_watch_comes_after_what_arrived_before(client: EtcdClient) -> None:
    """An error is raised when everything before it was taken, and again by each later call."""
    since = await client.put(PREFIX, b"begin")
    revisions = await _put(client, 3)
    async with _incoming(client, since) as opened:
        await _arrived(opened, revisions[-1])

        async def fail() -> None:
            raise Compacted("compacted")

        opened._reading.cancel()
        await asyncio.gather(opened._reading, return_exceptions=True)
        opened._reading = asyncio.create_task(fail())
        await asyncio.gather(opened._reading, return_exceptions=True)
        assert _revisions(await opened.take()) == revisions
        for _ in range(2):
            with pytest.raises(Compacted):
                await opened.take()


async def test_nothing_is_taken_after_a_stop(client: EtcdClient) -> None:
    """What has arrived is not applied where all has to be loaded again; a waiting call returns."""
    since = await client.put(PREFIX, b"begin")
    async with _incoming(client, since) as opened:
        taking = asyncio.create_task(opened.take())
        await asyncio.sleep(0)
        opened.stop()
        assert await asyncio.wait_for(taking, 10) == []
        revisions = await _put(client, 1)
        await _arrived(opened, revisions[-1])
        assert await opened.take() == []


async def test_not_more_is_read_ahead_than_has_room(client: EtcdClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd keeps the rest until something was taken, and then all of it comes."""
    monkeypatch.setattr(response_buffer, "MOST_CHANGES", 5)
    since = await client.put(PREFIX, b"begin")
    taken: list[int] = []
    async with _incoming(client, since) as opened, asyncio.timeout(30):
        # Until it is known to listen: etcd sends what came before a watch in one response.
        taken += await _put(client, 1)
        assert _revisions(await opened.take()) == taken
        async with client.watch(PREFIX, prefix=True, start_revision=taken[-1] + 1) as beside:
            revisions = await _put(client, 40)
            while (await anext(beside)).revision < revisions[-1]:
                continue
        # By now all of them would have arrived here, too.
        await _arrived(opened, revisions[4])
        assert opened._changes < 40
        while len(taken) < 41:
            taken += _revisions(await opened.take())
    assert taken[1:] == revisions
