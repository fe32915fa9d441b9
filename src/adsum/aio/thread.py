"""Calls that wait, from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from .._foreign import reraise_foreign
from .._os.threads import cannot_start

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Make a call in a thread of the loop's executor, and return its result. Errors: `SystemBusy` where no thread can
    be started now."""
    try:
        running = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError as error:
        reraise_foreign(error)
        raise cannot_start(error) from error
    return await running
