"""`AsyncRegistry`: the same registry for asyncio. Reads are plain calls, for they never wait; writes are awaited.

Example::

    async with adsum.open_async() as registry:
        await registry.register("planner-1", capabilities={"planning"})
        team = registry.find(capability="planning")
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from . import _wire as wire
from ._reads import AnyId
from ._writes import Ask, RegistryWrites
from .errors import AdsumError, Stale
from .model import Entry, Limits, ProcessId

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
        """`Registry.register`. To register the running task, give ``process=asyncio.current_task()``."""
        done = await self._registered(self._ask_register([(id, metadata)], process), timeout)
        return AsyncRegistration(self, done.entries[0])

    async def register_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any = None, *, timeout: float | None = None
    ) -> list[AsyncRegistration]:
        """`Registry.register_many`."""
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
        """`Registry.get_or_register`."""
        done = await self._registered(self._ask_register([(id, metadata)], process, or_get=True), timeout)
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
            try:
                self._send(self._ask_unregister(entry.process_id, entry.incarnation), None)
            except AdsumError:
                # Closed meanwhile; the entry goes with its process.
                return


class AsyncRegistration:
    """`Registration` with awaited calls, and an asynchronous context manager."""

    def __init__(self, registry: AsyncRegistry, entry: Entry) -> None:
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

    async def hand_over(self, process: Any, *, timeout: float | None = None) -> Entry:
        """`Registration.hand_over`."""
        return await self._registry._run(self._registry._ask_hand_over(self.entry, process), timeout)

    async def __aenter__(self) -> AsyncRegistration:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
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
