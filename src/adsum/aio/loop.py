"""The event loop that an awaited call needs, and the check that there is one before anything is done."""

from __future__ import annotations

import asyncio
from typing import Any

from .._calls import Calls, Write
from .._instrument import CallPoint
from .._reads import AnyId
from ..errors import NoEventLoop
from ..model import Entry


def require_loop() -> asyncio.AbstractEventLoop:
    """The running event loop of asyncio. Errors: `NoEventLoop`.

    Under trio, and in a coroutine that a program drives by hand, there is none: the reply would arrive, and no loop
    would resume the caller.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise NoEventLoop(
            "no asyncio event loop runs here, and nothing was done. Use adsum.open, and call what waits in a thread: "
            "await trio.to_thread.run_sync(...), or anyio.to_thread.run_sync(...)"
        ) from error


class LoopCalls(Calls):
    """The writes of one asynchronous registry: made only where a loop can await the reply.

    A heartbeat is left in shared memory and has no reply. It needs the loop as all the others: a program whose calls
    depend on the state of the registry would work until the first heartbeat that is late.
    """

    def _write(self, begin: CallPoint | None, call: str, id: object) -> Write[Any]:
        require_loop()
        return super()._write(begin, call, id)

    def leave_heartbeat(self, id: AnyId, incarnation: int | None, timeout: float | None) -> Entry | None:
        require_loop()
        return super().leave_heartbeat(id, incarnation, timeout)
