"""The calls of `AsyncRegistry` about several entries at once: the twin of `adsum._many`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .._calls import listed_ids, pairs, removed_of
from .._reads import AnyId
from ..model import Entry
from .answer import answered, registered
from .loop import LoopCalls
from .registration import AsyncRegistration
from .registrations import AsyncRegistrations


class AsyncManyCalls:
    """What `AsyncRegistry` inherits. Each of these calls is one request: it is carried out whole, or not at all."""

    _calls: LoopCalls

    async def register_many(
        self,
        items: Sequence[tuple[AnyId, dict[str, Any]]],
        process: Any = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
    ) -> AsyncRegistrations:
        """Register several ids, each with its metadata, for one process: all of them, visible at once, or none.

        `process`, `replace`, `owned_by`, `timeout` are those of `register`. Returns the registrations, a list in the
        order of `items`; as an asynchronous context manager it unregisters them all at the end of the block. If the
        await is cancelled, all are undone.

        Errors: as `register`; `TypeError` where an item is no pair.

        >>> arms = await registry.register_many([("arm-left", {"type": "service"}), ("arm-right", {})])
        >>> [arm.entry.incarnation for arm in arms]
        [1, 2]
        """
        items = pairs(items)
        if not items:
            return AsyncRegistrations(self._calls, [])
        write = self._calls.register(items, process, replace=replace, owned_by=owned_by)
        done = await registered(self._calls, write, timeout)
        return AsyncRegistrations(self._calls, [AsyncRegistration(self._calls, entry) for entry in done.entries])

    async def update_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], *, timeout: float | None = None
    ) -> list[Entry]:
        """Replace metadata fields of several entries, each with its own: of all of them, visible at once, or of none.

        - `items`: pairs of an id and the fields to replace, each as a whole.
        - `timeout`: seconds, as in `register`.

        Returns the new entries, in the order of `items`. Errors: as `update`; `InvalidProcessId` where an id is named
        twice; `TypeError` where an item is no pair; `VersionMismatch` where the registrar is of an older version.

        >>> arms = await registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> entries = await registry.update_many([("arm-left", {"type": "service"}), ("arm-right", {})])
        >>> [entry.metadata.type.value for entry in entries]
        ['service', 'agent']
        """
        items = pairs(items)
        return (await answered(self._calls, self._calls.update_many(items), timeout)).entries if items else []

    async def unregister_many(self, ids: Iterable[AnyId], *, timeout: float | None = None) -> list[bool]:
        """Remove several entries, all at once. Returns for each id, in order, whether there was an entry.

        `timeout` is in seconds, as in `register`. Errors: `InvalidProcessId`, and then no entry is removed;
        `SystemBusy`; `Timeout`; `VersionMismatch` where the registrar is of an older version.

        >>> arms = await registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> await registry.unregister_many(["arm-left", "arm-middle", "arm-right"])
        [True, False, True]
        """
        items = listed_ids(ids)
        if not items:
            return []
        write = self._calls.unregister_many(items)
        return removed_of(write.request.items, await answered(self._calls, write, timeout))
