"""`AsyncLiveEntries`: the twin of `adsum.live_entries.LiveEntries`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

from .._watching import instant_after
from ..errors import AdsumError
from ..live_entries import LiveEntriesBase, check_predicate
from .loop import require_loop
from .only_async import OnlyAsync
from .watch import AsyncWatch

L = TypeVar("L", bound="AsyncLiveEntries")
T = TypeVar("T")


class AsyncLiveEntries(LiveEntriesBase, OnlyAsync):
    """The members that match some conditions, as a read-only mapping of `ProcessId` to `Entry` that is true at each
    use: it has what `find` with the same conditions would give at that moment. Made by `AsyncRegistry.follow`. Its
    reads are plain calls.

    - A plain string is completed to an id, as in every call.
    - It survives the registrar and `fork`, and costs no task and no descriptor.
    - It ends when it or its registry is closed, and keeps the registry open.

    >>> async with registry.follow(capability="planning") as planners:
    ...     registration = await registry.register("planner-1", capabilities={"planning"})
    ...     print(len(planners), "planner-1" in planners)
    1 True
    """

    async def __aenter__(self: L) -> L:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def wait(self, predicate: Callable[[AsyncLiveEntries], T], timeout: float | None = None) -> T:
        """Wait until `predicate`, a plain function of this mapping, returns a true value, and return that.

        It is called at once, and again after each change of a member that matches. `timeout` is in seconds; None waits
        without bound. Errors: `Timeout`; `RegistryClosed`; `NoEventLoop`; what `predicate` raises.

        >>> planners = registry.follow(capability="planning")
        >>> future = registry.register_nowait("planner-1", capabilities={"planning"})
        >>> await planners.wait(lambda planners: len(planners) >= 1, timeout=10)
        True
        """
        require_loop()
        check_predicate(predicate)
        until = instant_after(timeout)
        if found := predicate(self):
            return found
        bound = asyncio.timeout(None if until == math.inf else max(0.0, until - time.monotonic()))
        try:
            async with bound, AsyncWatch(self._registry, self._client, self._query, self._where, None) as alarm:
                while not (found := predicate(self)):
                    await alarm.next()
        except TimeoutError as error:
            # Without `expired` it came from a signal handler, or from the predicate.
            if isinstance(error, AdsumError) or not bound.expired():
                raise
            raise self._not_true(timeout) from None
        return found
