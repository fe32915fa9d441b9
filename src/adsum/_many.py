"""The calls of `Registry` about several entries at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import _wire as wire
from ._calls import Calls, listed_ids, pairs, removed_of
from ._reads import AnyId
from .model import Entry
from .registration import Registration
from .registrations import Registrations


class ManyCalls:
    """What `Registry` inherits. Each of these calls is one request: it is carried out whole, or not at all."""

    _calls: Calls

    def register_many(
        self,
        items: Sequence[tuple[AnyId, dict[str, Any]]],
        process: Any = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
    ) -> Registrations:
        """Register several ids, each with its metadata, for one process: all of them, visible at once, or none.

        `process`, `replace`, `owned_by` and `timeout` are those of `register`. Returns the registrations, a list in the
        order of `items`; as a context manager it unregisters them all at the end of the block.

        Errors: as `register`; `TypeError` where an item is no pair.

        >>> arms = registry.register_many([("arm-left", {"type": "service"}), ("arm-right", {"type": "service"})])
        >>> [arm.entry.incarnation for arm in arms]
        [1, 2]
        """
        items = pairs(items)
        if not items:
            return Registrations(self._calls, [])
        write = self._calls.register(items, process, replace=replace, owned_by=owned_by)
        return self._calls.register_and_wait(write, timeout, self._registrations)

    def update_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], *, timeout: float | None = None
    ) -> list[Entry]:
        """Replace metadata fields of several entries, each with its own: of all of them, visible at once, or of none.

        - `items`: pairs of an id and the fields to replace, each as a whole.
        - `timeout`: seconds, as in `register`.

        Returns the new entries, in the order of `items`. Errors: as `update`; `InvalidProcessId` where an id is named
        twice; `TypeError` where an item is no pair; `VersionMismatch` where the registrar is of an older version.

        >>> arms = registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> entries = registry.update_many([("arm-left", {"type": "service"}), ("arm-right", {"endpoint": "tcp://a:1"})])
        >>> [(entry.metadata.type.value, entry.endpoint) for entry in entries]
        [('service', None), ('agent', 'tcp://a:1')]
        """
        items = pairs(items)
        return self._calls.wait(self._calls.update_many(items), timeout).entries if items else []

    def unregister_many(self, ids: Iterable[AnyId], *, timeout: float | None = None) -> list[bool]:
        """Remove several entries, all at once. Returns for each id, in order, whether there was an entry.

        `timeout` is in seconds, as in `register`. Errors: `InvalidProcessId`, and then no entry is removed;
        `SystemBusy`; `Timeout`; `VersionMismatch` where the registrar is of an older version.

        >>> arms = registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> registry.unregister_many(["arm-left", "arm-middle", "arm-right"])
        [True, False, True]
        """
        items = listed_ids(ids)
        if not items:
            return []
        write = self._calls.unregister_many(items)
        return removed_of(write.request.items, self._calls.wait(write, timeout))

    def _registrations(self, done: wire.Done) -> Registrations:
        return Registrations(self._calls, [Registration(self._calls, entry) for entry in done.entries])
