"""`AsyncWatch`: a watch that is awaited. The event loop waits for its epoll as for any other descriptor."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeVar

from .._event_delivery import END_SECONDS, REPEAT_SECONDS, OnEvent, log_failure, log_pause
from .._os.forking import notice_fork, own
from .._watching import WatchBase
from ..errors import RegistryClosed
from ..model import Event
from .loop import require_loop
from .only_async import OnlyAsync
from .thread import in_thread

W = TypeVar("W", bound="AsyncWatch")


class AsyncWatch(WatchBase, OnlyAsync):
    """The changes of a registry as they happen: an asynchronous iterator of `Event` that ends when it is closed. Made
    by `AsyncRegistry.watch`.

    - `snapshot`, `revision`: where it begins, and how far the consumer is.
    - One task at a time waits in it.
    - It survives the registrar, and `fork`: in the child it goes on from the same revision.
    - It ends with its registry, and keeps that open.

    >>> async with registry.watch(capability="planning") as watch:
    ...     registration = await registry.register("planner-1", capabilities={"planning"})
    ...     removed = await registration.unregister()
    ...     async for event in watch:
    ...         print(event.kind.value, event.revision)
    ...         if event.kind == "unregistered":
    ...             break
    registered 1
    unregistered 2
    """

    # Whether a task waits.
    _is_waiting = False
    # Calls the function of `AsyncRegistry.watch(on_event=)`.
    _delivery: asyncio.Task[None] | None = None

    def _deliver_to(self: W, on_event: OnEvent | None) -> W:
        """Call a function, if there is one, for each event from now on, in a task of the watch."""
        if on_event is not None:
            self._delivery = require_loop().create_task(self._deliver(on_event))
        return self

    async def _deliver(self, on_event: OnEvent) -> None:
        while not self._closed:
            try:
                event = await self.next()
            except RegistryClosed:
                return
            except Exception as error:  # noqa: BLE001 - logged, and it may be an error of the program's `where`
                log_pause(error)
                await asyncio.sleep(REPEAT_SECONDS)
                continue
            try:
                result = on_event(event)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:  # noqa: BLE001 - the program's own, which has no other place to go to
                log_failure(event, error)

    async def __aenter__(self: W) -> W:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        delivery = self._delivery
        if delivery is not None and delivery is not asyncio.current_task():
            # A call of the function that has begun may go on; a second later the block ends without it.
            await asyncio.wait([delivery], timeout=END_SECONDS)

    def close(self) -> None:
        """End the watch, and wake a task that waits in it. Closing twice does nothing. This is a plain call.

        >>> watch = registry.watch()
        >>> watch.close()
        >>> [event async for event in watch]
        []
        """
        self.stop()

    def __aiter__(self: W) -> W:
        return self

    if not TYPE_CHECKING:

        def __iter__(self) -> None:
            raise TypeError("AsyncWatch is for asyncio: write `async for` here, not `for`")

    async def __anext__(self) -> Event:
        try:
            return await self.next()
        except RegistryClosed:
            raise StopAsyncIteration from None

    async def next(self) -> Event:
        """Wait for the next event and return it. Cancelling the await loses no event; `asyncio.timeout` sets a bound.

        Errors: `RegistryClosed` where the watch or its registry is closed; `RuntimeError` where another task waits in
        it; `NoEventLoop`; those of starting a registrar.

        >>> async with registry.watch("planner-1") as watch:
        ...     registration = await registry.register("planner-1")
        ...     print((await watch.next()).kind.value)
        registered
        """
        require_loop()
        if not own[0]:
            notice_fork()
        if self._is_waiting:
            raise RuntimeError("another task waits in this watch; give each task a watch of its own")
        try:
            # No call, and so no other task or handler, comes between the question and this.
            self._is_waiting = True
            while (event := self._take()) is None:
                await self._wake_up()
            return event
        finally:
            self._is_waiting = False
            self._close_waiter()

    async def _wake_up(self) -> None:
        """Wait until there may be something new in the tables, also what is no event of this watch. For the bridge."""
        if self._waiter.is_connected:
            await self._woken()
        else:
            # It may have to start a registrar.
            await in_thread(self._waiter.listen)

    def _reset_after_fork(self) -> None:
        self._is_waiting = False

    def _close_waiter(self) -> None:
        if self._closed and not self._is_waiting:
            self._waiter.close()

    async def _woken(self) -> None:
        """Wait until the epoll is readable, then consume what made it so."""
        loop = require_loop()
        readable = asyncio.Event()
        descriptor = self._waiter.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            # The number that was added: asked again, the waiter may have another.
            loop.remove_reader(descriptor)
        self._waiter.wait(0)
