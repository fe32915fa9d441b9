"""Publishing: what changes here goes into etcd, each write guarded by the fence.

The state is written, not the steps to it: an entry that changes ten times while etcd is away is written once. Several
transactions are on their way at once, and never two with the same key. A write without an answer may still arrive, so
nothing is repeated under its fence: `OutcomeUnknown` ends the tenure, and the next fence begins with a comparison
(`spec/cluster.pml`, mistakes 4 and 5).

An entry that etcd does not take stays here, and keeps no other one from being published: one that is too large for etcd
is left out, and where etcd is full, members that end are still deleted, while the others wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from .._etcd.client import EtcdClient
from .._etcd.errors import NoSpace, RequestTooLarge
from .._etcd.records import Delete, Operation, Put
from .exits import UnwrittenExits
from .keys import Keys, id_of
from .local import LocalRegistry
from .nodes import WRITE_SECONDS, Nodes
from .records import EndRecord, encode
from .same_history import Witness
from .tenure import FenceLost, HostTenure

log = logging.getLogger("adsum.bridge")

# A transaction has so many changes, and about so many bytes: etcd takes 128 operations and 1.5 MiB.
MOST_CHANGES = 120
MOST_BYTES = 1024 * 1024
# So many transactions are on their way at once.
MOST_FLIGHTS = 4
COMPARE_SECONDS = 10.0
# How long entries wait that a full etcd has refused.
FULL_SECONDS = 1.0


class PendingWrite(NamedTuple):
    """A key that is to be written: the revision at which it changed first, and how the entry ended that is in etcd."""

    since: int
    ended: EndRecord | None


class EtcdWriter:
    """Publishes the members of `local`. Members under the refused of `nodes` stay here, and so do those in `too_large`,
    keys of members that etcd does not take; `trouble` is why some are not published now, empty where all are.
    `on_trouble` is called when one of these changes, before `published` counts what is left out."""

    def __init__(self, etcd: EtcdClient, keys: Keys, local: LocalRegistry, on_trouble: Callable[[], None]) -> None:
        self._etcd = etcd
        self._keys = keys
        self._local = local
        self._on_trouble = on_trouble
        # By key, and in the order of the revisions at which they changed first.
        self._dirty: dict[bytes, PendingWrite] = {}
        self._flying: dict[bytes, PendingWrite] = {}
        self._owed: set[bytes] = set()
        self._changed = asyncio.Event()
        # The number of the tenure under which it has said that all is written.
        self._whole_for = 0
        self._is_compared = False
        # Entries are not written before this instant of the event loop.
        self._full_until = 0.0
        # The last write that was answered.
        self.witness: Witness | None = None
        self.nodes = Nodes(etcd, keys, on_trouble)
        self.too_large: set[bytes] = set()
        self.trouble = ""
        self.writes = 0
        self._exits = UnwrittenExits()
        local.on_change = self.note
        local.exits.on_exit = self.note_exit

    def note(self, key: bytes, ended: EndRecord | None, since: int) -> None:
        """An entry here has changed, or ended, at the revision `since` or later."""
        if key in self.too_large:
            self.too_large.discard(key)
            self._on_trouble()
        known = self._dirty.get(key)
        if known is None:
            self._dirty[key] = PendingWrite(since, ended)
        elif known.ended is None:
            # Otherwise the entry in etcd has ended earlier: what began and ended since was never there.
            self._dirty[key] = known._replace(ended=ended)
        self._changed.set()

    def note_exit(self, end: EndRecord) -> None:
        """How a process ended has become known after its death."""
        known = self._dirty.get(end.key)
        if known is not None and _is_of(known, end):
            self._dirty[end.key] = known._replace(ended=end)
            return
        self._exits.add(end)
        self._changed.set()

    def note_all(self) -> None:
        """The revisions of the registry here count anew: nothing is known to be published."""
        for pending in (self._dirty, self._flying):
            pending.update({key: one._replace(since=0) for key, one in pending.items()})
        self._exits.clear()
        self._is_compared = False
        self.witness = None

    def node_freed(self, node: str) -> None:
        """A node belongs to no host any more. Members here may have been refused for it."""
        if self.nodes.freed(node):
            for key, entry in self._local.table.items():
                if entry.process_id.node == node:
                    self.note(key, None, self._local.revision)

    @property
    def published(self) -> int | None:
        """Every change here up to this revision is in etcd; None where that is not known."""
        if not self._is_compared or self._owed:
            return None
        first = [one.since for one in (*self._flying.values(), *islice(self._dirty.values(), 1))]
        return min(first) - 1 if first else self._local.revision

    async def run(self, tenure: HostTenure) -> None:
        """Publish under this fence until it is lost. Errors: `FenceLost`; those of etcd."""
        self._take_back()
        self._exits.flying = False
        self.nodes.begin_anew()
        await self._compare(tenure)
        flights: set[asyncio.Task[None]] = set()
        try:
            while True:
                await self._say_whole_if_so(tenure)
                self._local.show(published=self.published)
                self._start(tenure, flights)
                await self._until_something(flights)
        finally:
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)

    def _take_back(self) -> None:
        """What was on its way is to be looked at again: it may have arrived or not."""
        pending = {**self._dirty, **{key: self._joined(key, one) for key, one in self._flying.items()}}
        self._dirty, self._flying = dict(sorted(pending.items(), key=lambda item: item[1].since)), {}

    def _joined(self, key: bytes, flying: PendingWrite) -> PendingWrite:
        """What is to be written of a key that was on its way and may have changed since."""
        newer = self._dirty.get(key)
        return flying if flying.ended is not None or newer is None else flying._replace(ended=newer.ended)

    def _start(self, tenure: HostTenure, flights: set[asyncio.Task[None]]) -> None:
        self._changed.clear()
        if not self._is_compared:
            # The fence is about to be given up.
            return
        while len(flights) < MOST_FLIGHTS and (keys := self._next_keys()):
            flights.add(asyncio.create_task(self._write(tenure, keys)))
        if not self._is_full() and (exits := self._exits.ready(self._is_pending, MOST_CHANGES)):
            self._exits.flying = True
            flights.add(asyncio.create_task(self._write_exits(tenure, exits)))

    async def _until_something(self, flights: set[asyncio.Task[None]]) -> None:
        """Wait until there is more to write, or a flight is over. Errors: those of the flight."""
        changed = asyncio.create_task(self._changed.wait())
        left = self._full_until - asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait(
                [changed, *flights], return_when=asyncio.FIRST_COMPLETED, timeout=left if left > 0 else None
            )
        finally:
            changed.cancel()
        for flight in done - {changed}:
            flights.discard(flight)
            flight.result()

    # A new fence

    async def _compare(self, tenure: HostTenure) -> None:
        """What differs between etcd and the members here is to be written. First the present of the local registry: the
        fence dates from it."""
        self._local.catch_up()
        since = self._local.revision
        prefix = self._keys.entries(tenure.host)
        for node in {entry.process_id.node for entry in self._local.table.values()}:
            await self.nodes.claim(tenure, node)
        self._owed = set(self._local.table) | set(self._dirty)
        ends = self._local.unseen_ends()
        async for page in self._etcd.pages(prefix, timeout=COMPARE_SECONDS):
            for item in page.items:
                key = item.key.removeprefix(prefix)
                value = self._value(key)
                if value == item.value and key not in self._dirty:
                    self._owed.discard(key)
                elif key not in self._dirty:
                    present = self._local.table.get(key)
                    ended = ends.of_published(key, item.value, None if present is None else present.incarnation)
                    self._owed.add(key)
                    self._dirty[key] = PendingWrite(
                        since, ended or (EndRecord(key, "unknown") if value is None else None)
                    )
        for key in self._owed:
            self._dirty.setdefault(key, PendingWrite(since, None))
        self._is_compared = True

    async def _say_whole_if_so(self, tenure: HostTenure) -> None:
        """Once all that differed is written: it is all there, under this fence."""
        if self._owed or self._whole_for == tenure.number or self._is_full():
            return
        try:
            await self._commit(tenure, [Put(self._keys.whole(tenure.host), encode(tenure.fence), tenure.lease)])
        except NoSpace as error:
            self._note_full(error)
            return
        self._whole_for = tenure.number

    # Changes

    def _value(self, key: bytes) -> bytes | None:
        """What is to be in etcd under a key of an entry: nothing where another host would have to take it for its
        own."""
        if key in self.too_large or (self.nodes.refused and id_of(key).node in self.nodes.refused):
            return None
        return self._local.value(key)

    def _next_keys(self) -> list[bytes]:
        """The keys of the next transaction; they are on their way from now on."""
        keys: list[bytes] = []
        size = 0
        is_full = self._is_full()
        for key in self._dirty:
            if key in self._flying or (is_full and key in self._local.table):
                continue
            size += len(key) + len(self._value(key) or b"")
            if keys and (size > MOST_BYTES or len(keys) >= MOST_CHANGES):
                break
            keys.append(key)
        for key in keys:
            self._flying[key] = self._dirty.pop(key)
        return keys

    async def _write(self, tenure: HostTenure, keys: Sequence[bytes]) -> None:
        if not self._is_compared:
            # The registry here was made anew: what it has is not to be written under this fence.
            raise FenceLost("all is to be compared")
        values: dict[bytes, bytes | None] = {}
        try:
            nodes = {id_of(key).node for key in keys if key in self._local.table}
            for node in nodes:
                await self.nodes.claim(tenure, node)
            values = {key: self._value(key) for key in keys}
            await self._commit(tenure, self._operations(tenure, values))
        except NoSpace as error:
            self._note_full(error)
            await self._delete_what_ended(tenure, values)
        except RequestTooLarge as error:
            await self._write_parts(tenure, keys, error)
        else:
            self._note_written(keys)
            self._note_trouble("")

    def _operations(self, tenure: HostTenure, values: dict[bytes, bytes | None]) -> list[Operation]:
        operations: list[Operation] = [
            Delete(name) if value is None else Put(name, value)
            for key, value in values.items()
            for name in [self._keys.entry(tenure.host, key)]
        ]
        ended = [
            known or EndRecord(key, "unknown")
            for key, value in values.items()
            if (known := self._flying[key].ended) is not None or value is None
        ]
        if ended:
            # On the lease, so that nothing stays of a host that never comes back.
            operations.append(Put(self._keys.ended(tenure.host), encode(ended), tenure.lease))
        return operations

    async def _delete_what_ended(self, tenure: HostTenure, values: dict[bytes, bytes | None]) -> None:
        """A full etcd still deletes. How the entries ended cannot be written, and the others wait for room. One of an
        old version does not even delete: then the tenure ends, for a host that cannot report deaths is not to be
        relied upon."""
        gone = [key for key, value in values.items() if value is None]
        if gone:
            await self._commit(tenure, [Delete(self._keys.entry(tenure.host, key)) for key in gone])
            self._note_written(gone)
        self._put_back([key for key, value in values.items() if value is not None])

    async def _write_parts(self, tenure: HostTenure, keys: Sequence[bytes], error: RequestTooLarge) -> None:
        """Write a transaction that etcd found too large in two parts; an entry that is too large alone is left out."""
        if len(keys) > 1:
            middle = len(keys) // 2
            await self._write(tenure, keys[:middle])
            await self._write(tenure, keys[middle:])
            return
        log.error("an entry is too large for etcd, and stays here: %s: %s", id_of(keys[0]), error)
        self.too_large.add(keys[0])
        self._on_trouble()
        await self._write(tenure, keys)

    def _note_written(self, keys: Sequence[bytes]) -> None:
        self.writes += len(keys)
        for key in keys:
            del self._flying[key]
        self._owed.difference_update(keys)

    def _put_back(self, keys: Sequence[bytes]) -> None:
        if keys:
            back = {key: self._joined(key, self._flying.pop(key)) for key in keys}
            self._dirty = dict(sorted({**self._dirty, **back}.items(), key=lambda item: item[1].since))

    async def _commit(self, tenure: HostTenure, operations: Sequence[Operation]) -> None:
        done = await self._etcd.transaction([tenure.guard()], operations, timeout=WRITE_SECONDS)
        if not done.succeeded:
            raise FenceLost("the key of the host was removed or written by another")
        puts = [one.key for one in operations if isinstance(one, Put)]
        if puts and (self.witness is None or self.witness.revision < done.revision):
            self.witness = Witness(puts[0], done.revision, None)

    # Exits

    def _is_pending(self, end: EndRecord) -> bool:
        """Whether the end that this is about is not in etcd yet."""
        return any(
            known is not None and _is_of(known, end) for known in (self._dirty.get(end.key), self._flying.get(end.key))
        )

    async def _write_exits(self, tenure: HostTenure, exits: Sequence[EndRecord]) -> None:
        """In a transaction of their own: in that of an entry with the same key they would be about that one."""
        try:
            await self._commit(tenure, [Put(self._keys.ended(tenure.host), encode(exits), tenure.lease)])
        except NoSpace as error:
            self._note_full(error)
        else:
            self._exits.written(exits)
        self._exits.flying = False

    # A full etcd

    def _is_full(self) -> bool:
        return asyncio.get_running_loop().time() < self._full_until

    def _note_full(self, error: NoSpace) -> None:
        self._full_until = asyncio.get_running_loop().time() + FULL_SECONDS
        self._note_trouble(f"etcd is full: members that end are still deleted, the others wait; {error}")

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            if trouble:
                log.error("%s", trouble)
            self._on_trouble()


def _is_of(pending: PendingWrite, end: EndRecord) -> bool:
    """Whether the end that is to be written is this one."""
    return pending.ended is not None and pending.ended.incarnation == end.incarnation
