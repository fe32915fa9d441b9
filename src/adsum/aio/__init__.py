"""`AsyncRegistry`: the same registry for asyncio. Reads are plain calls, for they never wait; writes are awaited.

Example::

    async with adsum.open_async() as registry:
        await registry.register("planner-1", capabilities={"planning"})
        team = registry.find(capability="planning")
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

from .. import _wire as wire
from .._reads import AnyId, Where
from .._store.query import Conditions
from .._watching import Wanted, until_when
from .._writes import Ask, RegistryWrites, pairs
from ..errors import AdsumError, Stale
from ..model import Entry, Limits, ProcessId
from .heartbeat import beat, is_from_loop
from .watch import AsyncWatch

A = TypeVar("A", bound="AsyncRegistry")
T = TypeVar("T")


class AsyncRegistry(RegistryWrites):
    """A registry of living processes for asyncio. Made by `adsum.open_async`.

    The calls, their meanings and their errors are those of `Registry`; those that write are awaited. A registration
    whose awaiting is cancelled is undone, if it was too late to stop it.
    """

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """`Registry.close`."""
        await asyncio.to_thread(self._close)

    async def register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> AsyncRegistration:
        """`Registry.register`. To register the running task, give ``process=asyncio.current_task()``.

        ``heartbeat="loop"`` lets the event loop itself give the signs of life, three in each second: a loop that is
        blocked for 1.5 s shows as degraded, to every other process.
        """
        from_loop = is_from_loop(metadata, process)
        done = await self._registered(self._ask_register([(id, metadata)], process), timeout)
        if from_loop:
            self._beat(done.entries[0])
        return AsyncRegistration(self, done.entries[0])

    async def register_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any = None, *, timeout: float | None = None
    ) -> list[AsyncRegistration]:
        """`Registry.register_many`."""
        items = pairs(items)
        if not items:
            return []
        done = await self._registered(self._ask_register(items, process), timeout)
        return [AsyncRegistration(self, entry) for entry in done.entries]

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
        done = await self._registered(self._ask_register([(id, metadata)], process, or_get=True), timeout)
        if from_loop and done.changed:
            self._beat(done.entries[0])
        return done.entries[0], done.changed

    async def update(
        self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None, **metadata: Any
    ) -> Entry:
        """`Registry.update`."""
        return await self._run(self._ask_update(id, metadata, if_incarnation, checked=False), timeout)

    async def update_health(
        self, id: AnyId, status: str, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """`Registry.update_health`."""
        return await self._run(self._ask_update(id, {"health_status": status}, if_incarnation, checked=True), timeout)

    async def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """`Registry.unregister`."""
        return await self._run(self._ask_unregister(id, if_incarnation), timeout)

    async def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """`Registry.heartbeat`."""
        return await self._run(self._ask_heartbeat(id, None), timeout)

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
            raise wanted.too_late(timeout) from None
        return found

    async def stand_by(self, id: AnyId, *, timeout: float | None = None, **metadata: Any) -> AsyncRegistration:
        """`Registry.stand_by`, awaited until the id is held; cancelling it gives up the place. ``heartbeat="loop"`` as
        for `register`, from then on."""
        from_loop = is_from_loop(metadata)
        _, granted = self._stand_by(id, metadata, lambda done: AsyncRegistration(self, done.entries[0]), timeout)
        try:
            registration = await asyncio.wrap_future(granted)
        except asyncio.CancelledError:
            # It may have come in this very moment, and nobody will hold it.
            granted.add_done_callback(self._give_up)
            raise
        if from_loop:
            self._beat(registration.entry)
        return registration

    def _give_up(self, granted: Future[AsyncRegistration]) -> None:
        if not granted.cancelled() and granted.exception() is None:
            self._give_back(granted.result().entry)

    def _beat(self, entry: Entry) -> None:
        beat(asyncio.get_running_loop(), self._client.pipeline, lambda: self._ask_heartbeat_of(entry))

    def _ask_heartbeat_of(self, entry: Entry) -> Ask[Entry]:
        return self._ask_heartbeat(entry.process_id, entry.incarnation)

    async def _run(self, ask: Ask[T], timeout: float | None) -> T:
        return await asyncio.wrap_future(self._send(ask, timeout))

    async def _registered(self, ask: Ask[wire.Done], timeout: float | None) -> wire.Done:
        asked = self._send(ask, timeout)
        try:
            # Shielded: a registration on its way cannot be called back, only undone.
            return await asyncio.shield(asyncio.wrap_future(asked))
        except asyncio.CancelledError:
            asked.add_done_callback(self._undo)
            raise

    def _undo(self, asked: Future[wire.Done]) -> None:
        if asked.cancelled() or asked.exception() is not None or not asked.result().changed:
            return
        for entry in asked.result().entries:
            self._give_back(entry)


class AsyncRegistration:
    """`Registration` with awaited calls, and an asynchronous context manager."""

    def __init__(self, registry: AsyncRegistry, entry: Entry) -> None:
        self._pid = os.getpid()
        self._registry = registry
        self.entry = entry

    def __repr__(self) -> str:
        return f"<AsyncRegistration {self.process_id} incarnation={self.entry.incarnation}>"

    @property
    def process_id(self) -> ProcessId:
        """The id that is registered."""
        return self.entry.process_id

    async def update(self, *, timeout: float | None = None, **metadata: Any) -> Entry:
        """`Registration.update`."""
        incarnation = self.entry.incarnation
        self.entry = await self._registry.update(
            self.process_id, if_incarnation=incarnation, timeout=timeout, **metadata
        )
        return self.entry

    async def update_health(self, status: str, *, timeout: float | None = None) -> Entry:
        """`Registration.update_health`."""
        incarnation = self.entry.incarnation
        self.entry = await self._registry.update_health(
            self.process_id, status, if_incarnation=incarnation, timeout=timeout
        )
        return self.entry

    async def unregister(self, *, timeout: float | None = None) -> bool:
        """`Registration.unregister`."""
        incarnation = self.entry.incarnation
        return await self._registry.unregister(self.process_id, if_incarnation=incarnation, timeout=timeout)

    async def heartbeat(self, *, timeout: float | None = None) -> Entry:
        """`Registration.heartbeat`."""
        self.entry = await self._registry._run(self._registry._ask_heartbeat_of(self.entry), timeout)
        return self.entry

    async def hand_over(self, process: Any, *, timeout: float | None = None) -> Entry:
        """`Registration.hand_over`."""
        return await self._registry._run(self._registry._ask_hand_over(self.entry, process), timeout)

    async def __aenter__(self) -> AsyncRegistration:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            await self.unregister()
        except Stale:
            # Somebody else holds the id by now: what was to be removed is gone already.
            return
        except AdsumError:
            # The block's own error matters more; the entry goes with its process in any case.
            if error is None:
                raise


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
