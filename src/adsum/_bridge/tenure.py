"""The tenure of a host: its lease, and its key, whose revision fences all that its bridge writes.

A bridge that finds the key of an earlier bridge of the same boot and the same folder goes on with its lease, so no
other host notices the change. It writes the key anew all the same: under the new fence no late write of the earlier one
is carried out any more (`spec/cluster.pml`, mistake 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import __version__
from .._etcd.client import EtcdClient
from .._etcd.errors import AccessDenied, EtcdError, LeaseNotFound
from .._etcd.records import Compare, Put, absent, never, unchanged_since
from .._store.hosts import boottime_ns
from .keys import Keys
from .records import HostRecord, boot_here, decode_host, encode, folder_digest

SECOND = 1_000_000_000


class HostTaken(Exception):
    """Another registry holds the name of this host: of another machine, another boot or another folder."""


class FenceLost(Exception):
    """The key of the host is not the one that this bridge wrote: its lease was lost, or another bridge came after."""


class HostTenure:
    """`fence` is the revision of the host's key, 0 while it has none. `until` is how long the lease surely lasts, on
    `boottime_ns`; `epoch` gives that of the registry here."""

    def __init__(
        self, etcd: EtcdClient, keys: Keys, host: str, folder: Path, ttl: float, epoch: Callable[[], int]
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self.host = host
        self.ttl = ttl
        self._epoch = epoch
        self._record = HostRecord(boot_here(), folder_digest(folder), b"", ttl, __version__)
        self.lease = 0
        self.fence = 0
        self.until = 0
        self.adopted = False
        # How many fences it has had. It tells tenures apart: an etcd that starts empty gives the same fence again.
        self.number = 0
        # While there is a fence.
        self.established = asyncio.Event()
        self._ended = asyncio.Event()
        self._reason: Exception | None = None

    def guard(self) -> Compare:
        """The condition of every write: no other bridge came after, and the lease was not lost. Errors: `FenceLost`."""
        if not self.fence:
            # It would hold where there is no key.
            raise FenceLost("this host has no key in the cluster at the moment")
        return unchanged_since(self._keys.host(self.host), self.fence)

    def own_key_changed(self, revision: int) -> None:
        """The watch saw a change of the host's key, at this revision."""
        if self.fence and revision > self.fence:
            self.end(FenceLost("the key of the host was removed or written by another"))

    def end(self, reason: Exception) -> None:
        """Give up the present fence: a write under it may still arrive, or its time is over."""
        self._reason = reason
        self._ended.set()

    @property
    def holds(self) -> bool:
        """Whether this bridge has a fence that is not about to be given up."""
        return self.fence != 0 and not self._ended.is_set()

    async def establish(self) -> None:
        """Write the host's key. Errors: `HostTaken`; those of etcd."""
        key = self._keys.host(self.host)
        self.lose()
        page = await self._etcd.range(key)
        present = page.items[0] if page.items else None
        self.adopted = False
        if present is not None:
            self._require_own(present.value)
            self.adopted, self.lease = True, present.lease
        guard = absent(key) if present is None else unchanged_since(key, present.mod_revision)
        try:
            await self._write(key, guard)
        except LeaseNotFound:
            # It ended between the two.
            self.adopted, self.lease = False, 0
            await self._write(key, guard)

    def _require_own(self, value: bytes) -> None:
        """Require that an earlier bridge of this registry, or this one, has written this. Errors: `HostTaken`."""
        try:
            record = decode_host(value)
        except (msgspec.DecodeError, ValueError) as error:
            raise HostTaken(f"the name {self.host!r} is held by a host whose key cannot be read: {error}") from error
        if (record.boot, record.folder_digest) != (self._record.boot, self._record.folder_digest):
            raise HostTaken(
                f"the name {self.host!r} is held by another host or registry; where that one has just ended, its "
                f"name is free {record.ttl:g} s later; else give one of them another name (--host)"
            )

    async def _write(self, key: bytes, guard: Compare) -> None:
        if not self.adopted:
            await self._require_role(key)
            sent = boottime_ns()
            granted = await self._etcd.grant(math.ceil(self.ttl))
            self.lease, self.until = granted.id, sent + granted.granted * SECOND
        self._ended.clear()
        record = msgspec.structs.replace(self._record, nonce=os.urandom(8), epoch=self._epoch())
        done = await self._etcd.transaction([guard], [Put(key, encode(record), self.lease)])
        if not done.succeeded:
            raise FenceLost("another bridge wrote the host's key at the same time")
        self.fence = done.revision
        self.number += 1
        self.established.set()

    async def _require_role(self, key: bytes) -> None:
        """Ask whether this host may write its key, with a transaction that never does: each try would leave a lease
        behind otherwise, for its time to live. Errors: `AccessDenied`, which names the key; others of etcd."""
        try:
            await self._etcd.transaction([never(key)], [Put(key, b"")])
        except AccessDenied as error:
            raise AccessDenied(
                f"the user of this host may not write {key.decode()}, the key of the host {self.host!r}; give the host "
                "the name that the role of this user is for (--host, ADSUM_HOST), or the user the role of this host: "
                f"see the page on TLS and roles ({error})",
                **vars(error),
            ) from error

    async def give_up(self) -> None:
        """End the lease: other hosts are not to rely on the entries of this one. Where etcd does not answer, it ends by
        itself."""
        if self.fence:
            self.lose()
            with contextlib.suppress(EtcdError):
                await self._etcd.revoke(self.lease)

    def lose(self) -> None:
        """Write nothing more under this fence."""
        self.fence = 0
        self.established.clear()

    async def keep(self, on_beat: Callable[[int], None]) -> None:
        """Keep the lease alive until it is lost, and give `on_beat` the time until which it surely lasts. Errors:
        `FenceLost`; `LeaseNotFound`; the reason given to `end`."""
        ended = asyncio.ensure_future(self._ended.wait())
        beats = asyncio.ensure_future(self._beat(on_beat))
        try:
            await asyncio.wait([ended, beats], return_when=asyncio.FIRST_COMPLETED)
            if beats.done():
                beats.result()
            raise self._reason or FenceLost("the fence was given up")
        finally:
            for task in (ended, beats):
                task.cancel()
            await asyncio.gather(ended, beats, return_exceptions=True)

    async def _beat(self, on_beat: Callable[[int], None]) -> None:
        async with self._etcd.keep_lease(self.lease, self.ttl) as keeper:
            async for beat in keeper:
                self.until = int(beat.until * SECOND)
                on_beat(self.until)
