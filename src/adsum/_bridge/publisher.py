"""Publishing: what changes here goes into etcd, each write guarded by the fence.

The state is written, not the steps to it: an entry that changes ten times while etcd is away is written once. Several
transactions are on their way at once, and never two with the same key. A write without an answer may still arrive, so
nothing is repeated under its fence: `OutcomeUnknown` ends the tenure, and the next fence begins with a comparison
(`spec/cluster.pml`, mistakes 4 and 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from operator import itemgetter

from .._etcd.client import EtcdClient
from .._etcd.records import Delete, Operation, Put, absent
from .keys import Keys
from .local import LocalRegistry
from .records import Ended, encode
from .tenure import FenceLost, Tenure

log = logging.getLogger("adsum.bridge")

# A transaction has so many changes, and about so many bytes: etcd takes 128 operations and 1.5 MiB.
MOST_CHANGES = 120
MOST_BYTES = 1024 * 1024
# So many transactions are on their way at once.
MOST_FLIGHTS = 4
WRITE_SECONDS = 2.0
COMPARE_SECONDS = 10.0


class Publisher:
    """Publishes the members of `local`. `refused_nodes` are nodes of local members that belong to other hosts."""

    def __init__(self, etcd: EtcdClient, keys: Keys, local: LocalRegistry) -> None:
        self._etcd = etcd
        self._keys = keys
        self._local = local
        # By key, and in the order of the revisions at which they changed first.
        self._dirty: dict[bytes, int] = {}
        self._flying: dict[bytes, int] = {}
        self._ended: dict[bytes, Ended] = {}
        self._owed: set[bytes] = set()
        self._changed = asyncio.Event()
        self._nodes: set[str] = set()
        self._whole_for = 0
        self.refused_nodes: set[str] = set()
        self.writes = 0
        local.on_change = self.note

    def note(self, key: bytes, ended: Ended | None) -> None:
        """An entry here has changed, or ended."""
        self._dirty.setdefault(key, self._local.revision)
        if ended is None:
            self._ended.pop(key, None)
        else:
            self._ended[key] = ended
        self._changed.set()

    @property
    def published(self) -> int:
        """Every change here up to this revision is in etcd."""
        pending = [*self._flying.values(), *list(self._dirty.values())[:1]]
        return min(pending) - 1 if pending else self._local.revision

    async def run(self, tenure: Tenure) -> None:
        """Publish under this fence until it is lost. Errors: `FenceLost`; those of etcd."""
        # What was on its way is to be looked at again.
        pending = sorted({**self._dirty, **self._flying}.items(), key=itemgetter(1))
        self._dirty, self._flying = dict(pending), {}
        self._nodes.clear()
        await self._compare(tenure)
        flights: set[asyncio.Task[None]] = set()
        try:
            await self._say_whole_if_so(tenure)
            while True:
                while len(flights) < MOST_FLIGHTS and (keys := self._next_keys()):
                    flights.add(asyncio.create_task(self._write(tenure, keys)))
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                try:
                    done, _ = await asyncio.wait([changed, *flights], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                for flight in done - {changed}:
                    flights.discard(flight)
                    flight.result()
                self._local.show(published=self.published)
                await self._say_whole_if_so(tenure)
        finally:
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)

    # A new fence

    async def _compare(self, tenure: Tenure) -> None:
        """What differs between etcd and the members here is to be written. First the present of the local registry: the
        fence dates from it."""
        self._local.catch_up()
        prefix = self._keys.entries(tenure.host)
        self._owed = set(self._local.table) | set(self._dirty)
        async for page in self._etcd.pages(prefix, timeout=COMPARE_SECONDS):
            for item in page.items:
                key = item.key.removeprefix(prefix)
                value = self._local.value(key)
                if value is None:
                    self._owed.add(key)
                    self._ended.setdefault(key, Ended(key, "unregistered"))
                elif value == item.value and key not in self._dirty:
                    self._owed.discard(key)
        for key in self._owed:
            self._dirty.setdefault(key, self._local.revision)
        # Also those without entries: the lease of the one before may have had other nodes.
        for node in {entry.process_id.node for entry in self._local.table.values()}:
            await self._claim_node(tenure, node)

    async def _say_whole_if_so(self, tenure: Tenure) -> None:
        """Once all that differed is written: it is all there, under this fence."""
        if self._owed or self._whole_for == tenure.fence:
            return
        await self._commit(tenure, [Put(self._keys.whole(tenure.host), encode(tenure.fence), tenure.lease)])
        self._whole_for = tenure.fence
        self._local.show(published=self.published)

    # Changes

    def _next_keys(self) -> list[bytes]:
        """Those of the next transaction; they are on their way from now on."""
        keys: list[bytes] = []
        size = 0
        for key in self._dirty:
            if key in self._flying:
                continue
            value = self._local.value(key)
            size += len(key) + len(value or b"")
            if keys and (size > MOST_BYTES or len(keys) >= MOST_CHANGES):
                break
            keys.append(key)
        for key in keys:
            self._flying[key] = self._dirty.pop(key)
        return keys

    async def _write(self, tenure: Tenure, keys: Sequence[bytes]) -> None:
        operations: list[Operation] = []
        ended: list[Ended] = []
        for key in keys:
            entry, value = self._local.table.get(key), self._local.value(key)
            if entry is not None and not await self._claim_node(tenure, entry.process_id.node):
                # Another host would have to take it for its own.
                value = None
            if value is None:
                operations.append(Delete(self._keys.entry(tenure.host, key)))
                ended.append(self._ended.get(key) or Ended(key, "unregistered"))
            else:
                operations.append(Put(self._keys.entry(tenure.host, key), value))
        if ended:
            operations.append(Put(self._keys.ended(tenure.host), encode(ended)))
        await self._commit(tenure, operations)
        self.writes += len(keys)
        for end in ended:
            if self._ended.get(end.key) is end:
                del self._ended[end.key]
        for key in keys:
            del self._flying[key]
        self._owed.difference_update(keys)

    async def _commit(self, tenure: Tenure, operations: Sequence[Operation]) -> None:
        done = await self._etcd.transaction([tenure.guard()], operations, timeout=WRITE_SECONDS)
        if not done.succeeded:
            raise FenceLost("the key of the host was removed or written by another")

    async def _claim_node(self, tenure: Tenure, node: str) -> bool:
        """Have a node belong to this host. Whether it does."""
        if node in self._nodes:
            return True
        key = self._keys.node(node)
        mine = Put(key, tenure.host.encode(), tenure.lease)
        while True:
            page = await self._etcd.range(key)
            if page.items and page.items[0].value.decode(errors="replace") != tenure.host:
                if node not in self.refused_nodes:
                    log.error("the node %r belongs to the host %r: its members stay here", node, page.items[0].value)
                self.refused_nodes.add(node)
                return False
            guards = [tenure.guard()]
            if not page.items:
                guards.append(absent(key))
            done = await self._etcd.transaction(guards, [mine], timeout=WRITE_SECONDS)
            if done.succeeded:
                self._nodes.add(node)
                self.refused_nodes.discard(node)
                return True
            if page.items or (await self._etcd.range(self._keys.host(tenure.host))).items == ():
                raise FenceLost("the key of the host was removed or written by another")
