"""`Registrations`: the entries that one call registered, as the list that the call returns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType

from ._calls import Calls, removed_of
from ._only_sync import OnlySync
from .errors import AdsumError, Stale, VersionMismatch
from .registration import Registration


class Registrations(list[Registration], OnlySync):
    """The registrations of one call of `Registry.register_many`, a list in the order of its items.

    As a context manager it unregisters all of them at the end of the block, in one step and only their own
    incarnations, and only in the process that made it. Dropping it ends nothing.

    >>> with registry.register_many([("arm-left", {}), ("arm-right", {})]) as arms:
    ...     print(len(arms), arms[1].process_id.local_id, len(registry))
    2 arm-right 2
    >>> len(registry)
    0
    """

    def __init__(self, calls: Calls, registrations: Iterable[Registration]) -> None:
        super().__init__(registrations)
        self._pid = os.getpid()
        self._calls = calls

    def unregister(self, *, timeout: float | None = None) -> list[bool]:
        """Remove these entries, visible at once (one after the other, where the registrar is of an older
        version). Returns for each, in order, whether it was there; an entry that
        another registration has replaced stays, and counts as not there.

        `timeout` is in seconds, as in `Registry.register`. Errors: `SystemBusy`; `Timeout`.

        >>> arms = registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> arms[0].unregister(), arms.unregister()
        (True, [False, True])
        """
        if not self:
            return []
        own = [(one.process_id, one.entry.incarnation) for one in self]
        try:
            return removed_of(own, self._calls.wait(self._calls.unregister_many(own), timeout))
        except VersionMismatch:
            # A registrar of an older version removes them one after the other.
            return [_removed(one, timeout) for one in self]

    def __enter__(self) -> Registrations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.unregister()
        except AdsumError:
            # The block's own error matters more; the entries go with their process in any case.
            if error is None:
                raise


def _removed(registration: Registration, timeout: float | None) -> bool:
    try:
        return registration.unregister(timeout=timeout)
    except Stale:
        # Another registration has replaced it.
        return False
