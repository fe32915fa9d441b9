"""Awaiting the reply to a write."""

from __future__ import annotations

import asyncio
from typing import Any

from .. import _wire as wire
from .._calls import Calls, Write, whole


async def answered(calls: Calls, write: Write[Any], timeout: float | None) -> wire.Done:
    """Send a write through the pipeline and await its reply. A cancelled write may have been applied, or not."""
    return await asyncio.wrap_future(calls.submit(write, timeout, whole))
