"""The responses of a watch, read ahead while earlier ones are applied.

Each transaction of another host is a response of its own, and the registrar takes as long for a request with one change
as for one with many. So all responses that have arrived are taken together (group commit: Gray and Reuter, "Transaction
Processing", 1993, section 9.4.7): the busier the cluster, the larger the requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import NamedTuple

from .._etcd.records import WatchResponse
from .._etcd.watch import EtcdWatch
from .._store.hosts import boottime_ns
from .freshness import Freshness

SECOND = 1_000_000_000
# Not more than so many changes are read ahead: etcd keeps the others.
MOST_CHANGES = 5000


class HeardResponse(NamedTuple):
    """A response, when it arrived, on `boottime_ns`, and the number of the stream by which it came."""

    response: WatchResponse
    at: int
    stream: int


class ResponseBuffer:
    """``async with ResponseBuffer(watch, freshness) as incoming: ...``. Reads until it is closed, or the watch
    fails."""

    def __init__(self, watch: EtcdWatch, freshness: Freshness) -> None:
        self._watch = watch
        self._freshness = freshness
        self._waiting: deque[HeardResponse] = deque()
        self._changes = 0
        self._is_stopped = False
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def take(self) -> list[HeardResponse]:
        """All that have arrived and were not taken yet, at least one; none after `stop`. Errors: those that end the
        watch, after what arrived before."""
        await self._arrived.wait()
        if self._is_stopped:
            return []
        if not self._waiting:
            self._reading.result()
        taken = list(self._waiting)
        self._waiting.clear()
        self._changes = 0
        self._has_room.set()
        if not self._reading.done():
            self._arrived.clear()
        return taken

    def stop(self) -> None:
        """What has arrived is not to be applied any more."""
        self._is_stopped = True
        self._arrived.set()

    async def _read(self) -> None:
        while True:
            await self._has_room.wait()
            began = boottime_ns()
            response = await anext(self._watch)
            self._freshness.waited(began)
            self._waiting.append(HeardResponse(response, int(self._watch.heard * SECOND), self._watch.streams))
            self._changes += len(response.changes)
            if self._changes >= MOST_CHANGES:
                self._has_room.clear()
            self._arrived.set()

    async def __aenter__(self) -> ResponseBuffer:
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._arrived.set())
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
