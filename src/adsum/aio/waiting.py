"""The wait for a state of a registry that is awaited; see `adsum._waiting`."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TypeVar

from .._waiting import REDIAL_SECONDS, UNREACHABLE, AwaitedState, missed
from .._watching import instant_after
from ..errors import AdsumError
from .watch import AsyncWatch

T = TypeVar("T")


async def wait(awaited: AwaitedState[T], timeout: float | None) -> T:
    """Wait until the state is reached, and return the result. Errors: `Timeout`."""
    until = instant_after(timeout)
    if (found := awaited.found()) is not None:
        return found
    reads = awaited.reads
    bound = asyncio.timeout(None if until == math.inf else max(0.0, until - time.monotonic()))
    try:
        async with bound, AsyncWatch(reads, reads._client, awaited.query, awaited.where, None, has_hosts=True) as watch:
            changes = _AsyncChangeWait(watch, awaited.recheck)
            try:
                while (found := awaited.found()) is None:
                    await changes.wait()
            finally:
                await changes.close()
    except TimeoutError as error:
        # Without `expired` it came from a signal handler.
        if isinstance(error, AdsumError) or not bound.expired():
            raise
        raise missed(awaited, timeout) from None
    return found


class _AsyncChangeWait:
    """The changes that a watch reports, for a wait that looks again after each of them, and every `recheck` seconds."""

    def __init__(self, watch: AsyncWatch, recheck: float) -> None:
        self._watch = watch
        self._recheck = recheck
        # The wait for the next change. It goes on over several looks: a registrar that does not answer is dialled in a
        # thread, which a cancelled await would leave behind.
        self._next: asyncio.Task[object] | None = None

    async def wait(self) -> None:
        """Wait for a change, or until it is time to look again."""
        if self._recheck == math.inf:
            await self._watch.next()
            return
        if self._next is None:
            self._next = asyncio.ensure_future(self._watch.next())
        done, _ = await asyncio.wait({self._next}, timeout=self._recheck)
        if not done:
            return
        finished, self._next = self._next, None
        try:
            finished.result()
        except UNREACHABLE:
            # Leave it alone for a while; the looks go on.
            self._next = asyncio.ensure_future(asyncio.sleep(REDIAL_SECONDS))

    async def close(self) -> None:
        """End the wait for the next change."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
            if not self._next.cancelled():
                # Asked for, so that asyncio does not report it. The wait is over.
                self._next.exception()
