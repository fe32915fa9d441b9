"""The wait for a state of a registry that is awaited; see `adsum._waiting`."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TypeVar

from .._waiting import Awaited, missed
from .._watching import instant_after
from ..errors import AdsumError
from .watch import AsyncWatch

T = TypeVar("T")


async def wait(awaited: Awaited[T], timeout: float | None) -> T:
    """Wait until the state is reached, and return the result. Errors: `Timeout`."""
    until = instant_after(timeout)
    if (found := awaited.found()) is not None:
        return found
    reads = awaited.reads
    bound = asyncio.timeout(None if until == math.inf else max(0.0, until - time.monotonic()))
    try:
        async with bound, AsyncWatch(reads, reads._client, awaited.query, awaited.where, None) as watch:
            while (found := awaited.found()) is None:
                await watch.next()
    except TimeoutError as error:
        # Without `expired` it came from a signal handler.
        if isinstance(error, AdsumError) or not bound.expired():
            raise
        raise missed(awaited, timeout) from None
    return found
