"""Requests one after the other, the next one of which is made while the registrar carries out the one before.

The registrar and the bridge are processes of their own, so the two work at the same time. The order stays: a request is
sent when the one before was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType

from .. import _wire as wire


class OneAhead:
    """``async with OneAhead(send) as ahead: await ahead.send(requests)``. At the end of the block all were answered,
    also where it ends with an error: what comes next may rely on what was sent. A block that is cancelled cancels
    it."""

    def __init__(self, send: Callable[[wire.Mirror], Awaitable[None]]) -> None:
        self._send = send
        self._under_way: asyncio.Future[None] | None = None

    async def send(self, requests: Iterable[wire.Mirror]) -> None:
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

    async def __aenter__(self) -> OneAhead:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)
        else:
            await self._finish()
