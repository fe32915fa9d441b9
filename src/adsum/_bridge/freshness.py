"""Whether what a watch says is of now.

A message of a watch may have lain in a buffer: while this process was stopped, or while it was behind with the earlier
ones. A reader that took it for a sign of life would see hosts that were lost meanwhile. So a message counts as heard at
its arrival only if the watch was idle a moment before. Otherwise the majority is asked for its revision, and what was
known at that instant counts as heard when all up to that revision has arrived.
"""

from __future__ import annotations

from typing import NamedTuple

from .._etcd.client import EtcdClient
from .._etcd.errors import Unavailable
from .._store.hosts import boottime_ns

MS = 1_000_000
# An idle watch is asked for a sign of life more often than this.
LATE_NS = 2000 * MS
# A watch that is never idle for so long may be behind.
BUSY_NS = 1000 * MS
# A wait that is shorter may have been for a message that was there already.
IDLE_NS = 2 * MS


class PresentRevision(NamedTuple):
    """The revision of the majority, and an instant before it was asked for, on `boottime_ns`."""

    asked: int
    revision: int


class Freshness:
    """For one watch. `key` is one that this host may read."""

    def __init__(self, etcd: EtcdClient, key: bytes) -> None:
        self._etcd = etcd
        self._key = key
        self._idle = boottime_ns()
        self._is_in_doubt = False
        self._present: PresentRevision | None = None

    def waited(self, since: int) -> None:
        """A message has arrived for which was waited since this instant."""
        now = boottime_ns()
        if now - since > LATE_NS or now - self._idle > BUSY_NS:
            self._is_in_doubt = True
        if IDLE_NS <= now - since <= LATE_NS:
            self._idle = now

    async def heard(self, at: int, revision: int) -> int | None:
        """Since when everything up to `revision`, which is in the tables now, is known to be all there was; None where
        that is not known yet. `at` is the instant of the last message."""
        if not self._is_in_doubt:
            return at
        if self._present is None:
            self._present = await self._ask()
        if self._present is None or revision < self._present.revision:
            return None
        present, self._present, self._is_in_doubt = self._present, None, False
        return present.asked

    async def _ask(self) -> PresentRevision | None:
        asked = boottime_ns()
        try:
            page = await self._etcd.range(self._key, count_only=True)
        except Unavailable:
            # The next message asks again.
            return None
        return PresentRevision(asked, page.revision)
