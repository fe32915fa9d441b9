"""The tenure of a host: its lease, and its key, whose revision fences all that its bridge writes.

A bridge that finds the key of an earlier bridge of the same boot and the same folder goes on with its lease, so no
other host notices the change. It writes the key anew all the same: under the new fence no late write of the earlier one
is carried out any more (`spec/cluster.pml`, mistake 6).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .. import __version__
from .._etcd.client import EtcdClient
from .._etcd.errors import LeaseNotFound
from .._etcd.records import Compare, Put, absent, unchanged_since
from .._store.hosts import boottime_ns
from .keys import Keys
from .records import HostRecord, boot_here, decode_host, encode, place_of

SECOND = 1_000_000_000


class HostTaken(Exception):
    """Another registry holds the name of this host: of another machine, another boot or another folder."""


class FenceLost(Exception):
    """The key of the host is not the one that this bridge wrote: its lease was lost, or another bridge came after."""


class Tenure:
    """`fence` is the revision of the host's key, 0 while it has none. `until` is how long the lease surely lasts, on
    `boottime_ns`."""

    def __init__(self, etcd: EtcdClient, keys: Keys, host: str, folder: str, ttl: float) -> None:
        self._etcd = etcd
        self._keys = keys
        self.host = host
        self.ttl = ttl
        self._record = HostRecord(boot_here(), place_of(folder), os.urandom(8), ttl, __version__)
        self.lease = 0
        self.fence = 0
        self.until = 0
        self.adopted = False
        # While there is a fence.
        self.established = asyncio.Event()
        self._ended = asyncio.Event()

    def guard(self) -> Compare:
        """The condition of every write: no other bridge came after, and the lease was not lost."""
        return unchanged_since(self._keys.host(self.host), self.fence)

    def own_key_changed(self, revision: int) -> None:
        """The watch saw a change of the host's key, at this revision."""
        if self.fence and revision > self.fence:
            self._ended.set()

    async def establish(self) -> None:
        """Write the host's key. Errors: `HostTaken`; those of etcd."""
        key = self._keys.host(self.host)
        self.lose()
        page = await self._etcd.range(key)
        present = page.items[0] if page.items else None
        self.adopted = False
        if present is not None:
            record = decode_host(present.value)
            if (record.boot, record.place) != (self._record.boot, self._record.place):
                raise HostTaken(
                    f"the name {self.host!r} is held by another host or registry; where that one has just ended, its "
                    f"name is free {record.ttl:g} s later; else give one of them another name (--host)"
                )
            self.adopted, self.lease = True, present.lease
        guard = absent(key) if present is None else unchanged_since(key, present.mod_revision)
        try:
            await self._write(key, guard)
        except LeaseNotFound:
            # It ended between the two.
            self.adopted, self.lease = False, 0
            await self._write(key, guard)

    async def _write(self, key: bytes, guard: Compare) -> None:
        sent = boottime_ns()
        if not self.lease or not self.adopted:
            self.lease = (await self._etcd.grant(max(1, round(self.ttl)))).id
            self.until = sent + int(self.ttl * SECOND)
        self._ended.clear()
        done = await self._etcd.transaction([guard], [Put(key, encode(self._record), self.lease)])
        if not done.succeeded:
            raise FenceLost("another bridge wrote the host's key at the same time")
        self.fence = done.revision
        self.established.set()

    def lose(self) -> None:
        """Write nothing more under this fence."""
        self.fence = 0
        self.established.clear()

    async def keep(self, on_beat: Callable[[int], None]) -> None:
        """Keep the lease alive until it is lost, and tell `on_beat` how long it surely lasts. Errors: `FenceLost`;
        `LeaseNotFound`."""
        ended = asyncio.ensure_future(self._ended.wait())
        beats = asyncio.ensure_future(self._beat(on_beat))
        try:
            await asyncio.wait([ended, beats], return_when=asyncio.FIRST_COMPLETED)
            if beats.done():
                beats.result()
            raise FenceLost("the key of the host was removed or written by another")
        finally:
            for task in (ended, beats):
                task.cancel()
            await asyncio.gather(ended, beats, return_exceptions=True)

    async def _beat(self, on_beat: Callable[[int], None]) -> None:
        async with self._etcd.keep_lease(self.lease, self.ttl) as keeper:
            async for beat in keeper:
                self.until = int(beat.until * SECOND)
                on_beat(self.until)
