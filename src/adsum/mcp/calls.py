"""Calls of tools under way: what becomes of one that its client gives up, and of all when the server ends.

Each runs in a task of its own. The SDK cancels a request again and again until it is over (a cancel scope of anyio),
and would cut short what a call does to let go of what it has. Its task is cancelled once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from .answers import Document
from .failures import ToolError

# How long the end of a call that was given up may take.
_END_SECONDS = 2.0


class CallsUnderWay:
    """The calls of all clients of one server."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Document]] = set()
        self._is_closed = False

    async def run(
        self, call: Coroutine[Any, Any, Document], give_back: Callable[[Document], Awaitable[None]] | None
    ) -> Document:
        """The result of a call. Where its client gives it up, it is cancelled; if it was done at that moment, what it
        has got is given back. Errors: those of the call; `ToolError` where the server ends."""
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_closed:
            task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            with anyio.move_on_after(_END_SECONDS, shield=True):
                await _end(task, give_back)
            raise
        if task.cancelled():
            raise ToolError("server_ends", "the server ends; start it again to go on")
        return task.result()

    async def close(self) -> bool:
        """Cancel all calls, and wait until they have let go of what they have. Returns whether there were any."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        return bool(tasks)


async def _end(task: asyncio.Task[Document], give_back: Callable[[Document], Awaitable[None]] | None) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None and give_back is not None:
        await give_back(task.result())
