"""A load in steps that overlap: etcd gives the next page, and the bridge makes the next request, while the registrar
carries out the one before.

They are processes of their own, so they work at the same time. The order stays: a request is sent when the one before
was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import TypeVar

from .. import _wire as wire

T = TypeVar("T")


async def read_ahead(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items, each of which is asked for while the one before is used. To be closed where it is left early."""
    coming = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


class LookaheadSender:
    """``async with LookaheadSender(send) as ahead: await ahead.send(requests)``. At the end of the block all were
    answered, also where it ends with an error: what comes next may rely on what was sent. A block that is cancelled
    cancels it."""

    def __init__(self, send: Callable[[wire.ApplyRemote], Awaitable[None]]) -> None:
        self._send = send
        self._under_way: asyncio.Future[None] | None = None

    async def send(self, requests: Iterable[wire.ApplyRemote]) -> None:
        """Send them. The last one may not be answered yet when this returns. Errors: those of the function."""
        for request in requests:
            await self._finish()
            self._under_way = asyncio.ensure_future(self._send(request))
            # It is written before the next one is made.
            await asyncio.sleep(0)

    async def _finish(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            await under_way

    async def __aenter__(self) -> LookaheadSender:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)
        else:
            await self._finish()
