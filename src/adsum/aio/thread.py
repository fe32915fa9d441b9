"""Calls that wait, from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._foreign import reraise_foreign
from .._os.threads import cannot_start


async def in_thread(call: Callable[[], None]) -> None:
    """Make a call in a thread of the loop's executor. Errors: `SystemBusy` where no thread can be started now."""
    try:
        running = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError as error:
        reraise_foreign(error)
        raise cannot_start(error) from error
    await running
