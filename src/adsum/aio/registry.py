"""`AsyncRegistry`: the twin of `adsum.registry.Registry`, and `open_async`."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, Unpack, overload

from .. import _instrument
from .. import _wire as wire
from .._calls import Calls, Write, pairs, whole
from .._client.connection_pool import seconds
from .._reads import AnyId, RegistryReads, Where
from .._store.query import Conditions
from .._watching import Wanted, until_when
from ..errors import AdsumError, Timeout
from ..model import Entry, Limits
from .answer import answered
from .heartbeat import LoopHeartbeat, is_from_loop
from .registration import AsyncRegistration
from .watch import AsyncWatch

A = TypeVar("A", bound="AsyncRegistry")


class AsyncRegistry(RegistryReads):
    """A registry of living processes for asyncio. Made by `adsum.open_async`.

    The calls, their meanings and their errors are those of `Registry`; those that write are awaited. A registration
    whose awaiting is cancelled is undone, if it was too late to stop it.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        namespace: str = "default",
        node: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        own_timeout = seconds(timeout)
        super().__init__(name, path=path, namespace=namespace, node=node, limits=limits)
        self._calls = Calls(self._client, self.namespace, self.node, own_timeout)

    @property
    def timeout(self) -> float | None:
        """Seconds for every write that names none; None for the registry's own bound."""
        return self._calls.timeout

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), str(self.folder), self.namespace, self.node, self.timeout, self.limits)

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """`Registry.close`."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._close_reads()
        self._calls.close()

    async def register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> AsyncRegistration:
        """`Registry.register`. To register the running task, give ``process=asyncio.current_task()``.

        ``heartbeat="loop"`` lets the event loop itself give the signs of life, three in each second: a loop that is
        blocked for 1.5 s shows as degraded, to every other process.
        """
        from_loop = is_from_loop(metadata, process)
        write = self._calls.register([(id, metadata)], process)
        done = await self._registered(write, timeout)
        if from_loop:
            self._beat(done.entries[0])
        return AsyncRegistration(self._calls, done.entries[0])

    async def register_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any = None, *, timeout: float | None = None
    ) -> list[AsyncRegistration]:
        """`Registry.register_many`."""
        items = pairs(items)
        if not items:
            return []
        write = self._calls.register(items, process)
        done = await self._registered(write, timeout)
        return [AsyncRegistration(self._calls, entry) for entry in done.entries]

    def register_nowait(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> asyncio.Future[AsyncRegistration]:
        """`Registry.register_nowait`; the future is the running loop's."""
        return asyncio.ensure_future(self.register(id, process, timeout=timeout, **metadata))

    async def get_or_register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> tuple[Entry, bool]:
        """`Registry.get_or_register`; ``heartbeat="loop"`` as for `register`."""
        from_loop = is_from_loop(metadata, process)
        write = self._calls.register([(id, metadata)], process, or_get=True)
        done = await self._registered(write, timeout)
        if from_loop and done.changed:
            self._beat(done.entries[0])
        return done.entries[0], done.changed

    async def update(
        self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None, **metadata: Any
    ) -> Entry:
        """`Registry.update`."""
        write = self._calls.update(id, metadata, if_incarnation)
        return (await answered(self._calls, write, timeout)).entries[0]

    async def update_health(
        self, id: AnyId, status: str, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """`Registry.update_health`."""
        write = self._calls.update(id, {"health_status": status}, if_incarnation, checked=True)
        return (await answered(self._calls, write, timeout)).entries[0]

    async def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """`Registry.unregister`."""
        write = self._calls.unregister(id, if_incarnation)
        return (await answered(self._calls, write, timeout)).changed

    async def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """`Registry.heartbeat`."""
        write = self._calls.heartbeat(id, None)
        return (await answered(self._calls, write, timeout)).entries[0]

    # Following

    def watch(
        self,
        id: AnyId | None = None,
        *,
        since: int | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> AsyncWatch:
        """`Registry.watch`: ``async with registry.watch(...) as watch: async for event in watch: ...``."""
        return AsyncWatch(self, self._client, self._query(id, conditions), where, since)

    @overload
    async def wait_for(self, id: AnyId, timeout: float | None = None) -> Entry: ...
    @overload
    async def wait_for(
        self,
        *,
        count: int = 1,
        timeout: float | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Entry]: ...
    async def wait_for(
        self,
        id: AnyId | None = None,
        timeout: float | None = None,
        *,
        count: int = 1,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> Entry | list[Entry]:
        """`Registry.wait_for`."""
        wanted = Wanted(self, id, count, where, conditions)
        until = until_when(timeout)
        if (found := wanted.found()) is not None:
            return found
        try:
            async with (
                asyncio.timeout(None if until == math.inf else max(0.0, until - time.monotonic())),
                AsyncWatch(self, self._client, self._query(id, conditions), where, None) as watch,
            ):
                while (found := wanted.found()) is None:
                    await watch.next()
        except TimeoutError as error:
            if isinstance(error, AdsumError):
                raise
            raise self._too_late(wanted, timeout) from None
        return found

    async def stand_by(self, id: AnyId, *, timeout: float | None = None, **metadata: Any) -> AsyncRegistration:
        """`Registry.stand_by`, awaited until the id is held; cancelling it gives up the place. ``heartbeat="loop"`` as
        for `register`, from then on."""
        from_loop = is_from_loop(metadata)
        granted = self._calls.stand_by(id, metadata, timeout, self._registration).future
        try:
            registration = await asyncio.wrap_future(granted)
        except asyncio.CancelledError:
            # The grant may have come at this moment, and no caller will hold it.
            granted.add_done_callback(self._give_up)
            raise
        if from_loop:
            self._beat(registration.entry)
        return registration

    def _registration(self, done: wire.Done) -> AsyncRegistration:
        return AsyncRegistration(self._calls, done.entries[0])

    def _give_up(self, granted: Future[AsyncRegistration]) -> None:
        if not granted.cancelled() and granted.exception() is None:
            self._calls.give_back(granted.result().entry)

    def _beat(self, entry: Entry) -> None:
        LoopHeartbeat(asyncio.get_running_loop(), self._calls, entry).start()

    async def _registered(self, write: Write[wire.Register], timeout: float | None) -> wire.Done:
        pending = self._calls.submit(write, timeout, whole)
        try:
            # Shielded: a registration in flight cannot be cancelled, only undone.
            return await asyncio.shield(asyncio.wrap_future(pending))
        except asyncio.CancelledError:
            pending.add_done_callback(self._undo)
            raise

    def _undo(self, pending: Future[wire.Done]) -> None:
        if pending.cancelled() or pending.exception() is not None or not pending.result().changed:
            return
        for entry in pending.result().entries:
            self._calls.give_back(entry)

    def _too_late(self, wanted: Wanted, timeout: float | None) -> Timeout:
        error = wanted.too_late(timeout)
        if (report := _instrument.wait_timed_out) is not None:
            report(self.folder, wanted.namespace, timeout or 0.0, error)
        return error


def open_async(
    name: str = "default",
    *,
    path: str | os.PathLike[str] | None = None,
    namespace: str = "default",
    node: str | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> AsyncRegistry:
    """`adsum.open` for asyncio, with the same arguments: ``async with adsum.open_async() as registry:``."""
    return AsyncRegistry(name, path=path, namespace=namespace, node=node, timeout=timeout, limits=limits)


def _reopen(
    kind: type[AsyncRegistry], folder: str, namespace: str, node: str, timeout: float | None, limits: Limits
) -> AsyncRegistry:
    return kind(path=folder, namespace=namespace, node=node, timeout=timeout, limits=limits)
