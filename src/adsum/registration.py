"""`Registration`: an entry that this process registered, with the calls that act on it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from ._calls import Calls
from .errors import AdsumError, Stale
from .model import Entry, ProcessId


class Registration:
    """An entry that this caller registered, by its incarnation: it never touches a later holder of the same id.

    As a context manager it unregisters at the end of the block, in the process that made it: a forked child that leaves
    the block ends nothing of its parent's.
    """

    def __init__(self, calls: Calls, entry: Entry) -> None:
        self._pid = os.getpid()
        self._calls = calls
        self.entry = entry

    def __repr__(self) -> str:
        return f"<Registration {self.process_id} incarnation={self.entry.incarnation}>"

    @property
    def process_id(self) -> ProcessId:
        """The id that is registered."""
        return self.entry.process_id

    def update(self, *, timeout: float | None = None, **metadata: Any) -> Entry:
        """`Registry.update` of this entry. Errors: also `Stale` where somebody else holds the id by now."""
        write = self._calls.update(self.process_id, metadata, self.entry.incarnation)
        self.entry = self._calls.wait(write, timeout).entries[0]
        return self.entry

    def update_health(self, status: str, *, timeout: float | None = None) -> Entry:
        """`Registry.update_health` of this entry."""
        write = self._calls.update(self.process_id, {"health_status": status}, self.entry.incarnation, checked=True)
        self.entry = self._calls.wait(write, timeout).entries[0]
        return self.entry

    def unregister(self, *, timeout: float | None = None) -> bool:
        """`Registry.unregister` of this entry."""
        write = self._calls.unregister(self.process_id, self.entry.incarnation)
        return self._calls.wait(write, timeout).changed

    def heartbeat(self, *, timeout: float | None = None) -> Entry:
        """`Registry.heartbeat` of this entry. Errors: also `Stale`."""
        write = self._calls.heartbeat(self.process_id, self.entry.incarnation)
        self.entry = self._calls.wait(write, timeout).entries[0]
        return self.entry

    def hand_over(self, process: Any, *, timeout: float | None = None) -> Entry:
        """Give the id to another living process, in one step: nobody ever finds it free, and it has a new incarnation.

        This registration is stale from then on. Errors: `DeadProcess`, `Stale`, `NotRegistered`.
        """
        write = self._calls.hand_over(self.entry, process)
        return self._calls.wait(write, timeout).entries[0]

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.unregister()
        except Stale:
            # Another process holds the id by now: the entry of this registration is gone.
            return
        except AdsumError:
            # The block's own error matters more; the entry goes with its process in any case.
            if error is None:
                raise
