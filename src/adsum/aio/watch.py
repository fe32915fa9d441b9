"""`AsyncWatch`: a watch that is awaited. The event loop waits for its epoll as for any other descriptor."""

from __future__ import annotations

import asyncio
import threading
from typing import TypeVar

from .._watching import Lock, WatchBase
from ..errors import RegistryClosed
from ..model import Event

W = TypeVar("W", bound="AsyncWatch")


class AsyncWatch(WatchBase):
    """The changes of a registry as they happen, for asyncio. Made by `AsyncRegistry.watch`; an asynchronous iterator
    that ends when it is closed. One task at a time takes its events.

    >>> async with registry.watch(capability="planning") as watch:
    ...     registration = await registry.register("planner-1", capabilities={"planning"})
    ...     async for event in watch:
    ...         print(event.kind, event.entry.process_id.local_id)
    ...         break
    registered planner-1
    """

    async def __aenter__(self: W) -> W:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch, and wake a task that waits in it. Closing twice does nothing.

        >>> watch = registry.watch()
        >>> watch.close()
        """
        self.stop()

    def __aiter__(self: W) -> W:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.next()
        except RegistryClosed:
            raise StopAsyncIteration from None

    async def next(self) -> Event:
        """The next event, once it has happened. Cancelling the call loses no event.

        Errors: `RegistryClosed` where the watch or its registry is closed; `RuntimeError` where another task waits in
        it; those of starting a registrar.

        >>> watch = registry.watch()
        >>> registration = await registry.register("planner-1")
        >>> event = await watch.next()
        >>> event.kind
        <Kind.registered: 'registered'>
        """
        if not self._consumer_lock.acquire(blocking=False):
            raise RuntimeError("another task waits in this watch; give each task a watch of its own")
        try:
            while (event := self._take()) is None:
                if self._waiter.is_connected:
                    await self._woken()
                else:
                    # In a thread, because it may have to start a registrar.
                    await asyncio.to_thread(self._waiter.listen)
            return event
        finally:
            self._consumer_lock.release()
            self._close_waiter()

    def _new_lock(self) -> Lock:
        return threading.Lock()

    async def _woken(self) -> None:
        """Wait until the epoll is readable, then consume what made it so."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._waiter.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._waiter.fileno())
        self._waiter.wait(0)
