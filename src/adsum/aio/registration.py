"""`AsyncRegistration`: the twin of `adsum.registration.Registration`."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from .._calls import Calls
from ..errors import AdsumError, Stale
from ..model import Entry, ProcessId
from .answer import answered


class AsyncRegistration:
    """`Registration` with awaited calls, and an asynchronous context manager."""

    def __init__(self, calls: Calls, entry: Entry) -> None:
        self._pid = os.getpid()
        self._calls = calls
        self.entry = entry

    def __repr__(self) -> str:
        return f"<AsyncRegistration {self.process_id} incarnation={self.entry.incarnation}>"

    @property
    def process_id(self) -> ProcessId:
        """The id that is registered."""
        return self.entry.process_id

    async def update(self, *, timeout: float | None = None, **metadata: Any) -> Entry:
        """`Registration.update`."""
        write = self._calls.update(self.process_id, metadata, self.entry.incarnation)
        self.entry = (await answered(self._calls, write, timeout)).entries[0]
        return self.entry

    async def update_health(self, status: str, *, timeout: float | None = None) -> Entry:
        """`Registration.update_health`."""
        write = self._calls.update(self.process_id, {"health_status": status}, self.entry.incarnation, checked=True)
        self.entry = (await answered(self._calls, write, timeout)).entries[0]
        return self.entry

    async def unregister(self, *, timeout: float | None = None) -> bool:
        """`Registration.unregister`."""
        write = self._calls.unregister(self.process_id, self.entry.incarnation)
        return (await answered(self._calls, write, timeout)).changed

    async def heartbeat(self, *, timeout: float | None = None) -> Entry:
        """`Registration.heartbeat`."""
        write = self._calls.heartbeat(self.process_id, self.entry.incarnation)
        self.entry = (await answered(self._calls, write, timeout)).entries[0]
        return self.entry

    async def hand_over(self, process: Any, *, timeout: float | None = None) -> Entry:
        """`Registration.hand_over`."""
        write = self._calls.hand_over(self.entry, process)
        return (await answered(self._calls, write, timeout)).entries[0]

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
            # Another process holds the id by now: the entry of this registration is gone.
            return
        except AdsumError:
            # The block's own error matters more; the entry goes with its process in any case.
            if error is None:
                raise
