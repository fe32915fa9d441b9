"""Mirroring: what is in etcd goes to the registrar, response by response.

Load all keys at one revision, then watch from the next one on (list and watch, as etcd's own mirror does). A watch that
is canceled or compacted begins with a load again; the registrar is asked what it has, so a load only says what differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence

from .. import _wire as wire
from .._etcd.client import EtcdClient
from .._etcd.errors import Compacted, EtcdError, RevisionWentBack, WatchCanceled
from .._etcd.records import KeyChange, KeyValue, WatchResponse, as_text
from .._store.hosts import boottime_ns
from .freshness import Freshness
from .keys import Keys
from .local import LocalRegistry
from .one_ahead import LookaheadSender, read_ahead
from .remote_hosts import RawChange, RemoteHosts
from .response_buffer import ResponseBuffer
from .same_history import Witness, has

log = logging.getLogger("adsum.bridge")

LOAD_SECONDS = 10.0
FORGET_SECONDS = 2.0
# How long a registrar has to report that hosts can be reached again.
NOTICE_SECONDS = 1.0
SECOND = 1_000_000_000


class EtcdReader:
    """`on_own_key` is called with the revision of each change of the host's own key; `on_applied` when all up to
    `revision` is in the tables; `on_name_freed` and `on_node_freed` when a name for the whole cluster, or the host of a
    node, was deleted; `on_lost_history` when changes were missed. `written` gives the last write of this host."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        local: LocalRegistry,
        host: str,
        ttl: float,
        on_own_key: Callable[[int], None],
        on_applied: Callable[[], None],
        on_name_freed: Callable[[], None],
        on_node_freed: Callable[[str], None],
        on_lost_history: Callable[[EtcdError], None],
        written: Callable[[], Witness | None],
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._local = local
        self._host = host
        self._ttl_ns = int(ttl * SECOND)
        self._on_own_key = on_own_key
        self._on_applied = on_applied
        self._on_name_freed = on_name_freed
        self._on_node_freed = on_node_freed
        self._on_lost_history = on_lost_history
        self._written = written
        # The last change that was seen, the last of this host's key, which is as no other, and the stream of the watch
        # by which they came.
        self._witness: Witness | None = None
        self._own_witness: Witness | None = None
        self._stream = 0
        self._is_stale = False
        # Whether etcd may have lost hosts that are known here.
        self._has_lost_history = False
        self._incoming: ResponseBuffer | None = None
        self.remote_hosts = RemoteHosts(keys, host)
        self.revision = 0
        self.loads = 0
        self.loaded = asyncio.Event()

    def load_again(self) -> None:
        """What is in the tables is not what was sent there, or not all of it: load again, at once."""
        self._is_stale = True
        if self._incoming is not None:
            self._incoming.stop()

    def forget_revision(self) -> None:
        """The revisions of etcd count anew."""
        self.revision = 0
        self._has_lost_history = True
        self._on_applied()
        self.load_again()

    async def run(self) -> None:
        """Load and follow, for ever. Errors: those of etcd that trying again does not mend."""
        while True:
            self._is_stale = False
            await self._load()
            try:
                await self._follow()
            except (Compacted, WatchCanceled) as error:
                log.warning("loading all hosts again: %s", error)
                # Where history was lost, what this host has written may be lost too: etcd may be an older copy.
                self._on_lost_history(error)

    async def _load(self) -> None:
        self._witness, self._own_witness, self._stream = None, None, 0
        began = boottime_ns()
        heads = await self._etcd.range(self._keys.hosts, prefix=True, timeout=LOAD_SECONDS)
        at = heads.revision
        items = [*heads.items]
        for prefix in (self._keys.nodes, self._keys.wholes):
            page = await self._etcd.range(prefix, prefix=True, revision=at, timeout=LOAD_SECONDS)
            items += page.items
        self._note_witness([_raw(item) for item in heads.items])
        has_lost_history = self._has_lost_history or at < self._local.newest_fence()
        load = self.remote_hosts.load(map(_raw, items), self._local.known(), keeps=has_lost_history)
        # Page by page, so that a large cluster is in memory in part only.
        pages = read_ahead(self._etcd.pages(self._keys.all_entries, revision=at, timeout=LOAD_SECONDS))
        async with contextlib.aclosing(pages), LookaheadSender(self._local.send) as ahead:
            await ahead.send(load.begin())
            async for page in pages:
                await ahead.send(load.take(map(_raw, page.items)))
            await ahead.send(load.end())
        self.revision = at
        await self._show(began)
        self.loads += 1
        self._has_lost_history = False
        self.loaded.set()
        log.info("loaded %d other hosts at revision %d", len(self.remote_hosts.hosts), at)

    async def forget_all(self) -> None:
        """Take the entries of all other hosts out of the tables: this host leaves the cluster. Gives up where no
        registrar serves soon."""
        hosts = [wire.RemoteHost(host, "gone") for host in {*self.remote_hosts.hosts, *self._local.known()}]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORGET_SECONDS):
                await self._send([wire.ApplyRemote(hosts=hosts)] if hosts else [])
        self._local.show(heard=(0, 0))

    async def _send(self, requests: Iterable[wire.ApplyRemote]) -> None:
        for request in requests:
            await self._local.send(request)

    async def _follow(self) -> None:
        """Follow until all has to be loaded again."""
        freshness = Freshness(self._etcd, self._keys.version)
        async with (
            self._etcd.watch(self._keys.all, prefix=True, start_revision=self.revision + 1) as watch,
            ResponseBuffer(watch, freshness) as incoming,
        ):
            self._incoming = incoming
            try:
                while not self._is_stale and (heard := await incoming.take()):
                    for stream, group in itertools.groupby(heard, lambda one: one.stream):
                        await self._require_same_history(stream)
                        await self._apply([one.response for one in group])
                    await self._show(await freshness.heard(heard[-1].at, self.revision))
            finally:
                self._incoming = None

    async def _apply(self, responses: Sequence[WatchResponse]) -> None:
        groups = [[_changed(one) for one in changes] for response in responses for _, changes in response.by_revision()]
        for group in groups:
            self._note_own(group)
            self._note_witness(group)
        await self._send(self.remote_hosts.apply(groups))
        self.revision = max(self.revision, *(response.revision for response in responses))

    async def _require_same_history(self, stream: int) -> None:
        """Where the watch goes on by another stream, require that etcd has what it had before. Errors:
        `RevisionWentBack`; those of etcd."""
        if stream == self._stream:
            return
        self._stream = stream
        for witness in filter(None, [self._own_witness, self._written(), self._witness]):
            if not await has(self._etcd, witness):
                raise RevisionWentBack(
                    f"the change of {as_text(witness.key)} at revision {witness.revision} is not there any more: the "
                    "cluster was restored from an older copy, or started empty; what was read must be read again",
                    known=witness.revision,
                )

    def _note_witness(self, group: list[RawChange]) -> None:
        for one in group:
            if one.value is not None:
                self._witness = Witness(one.key, one.revision, one.value)
                if one.key == self._keys.host(self._host):
                    self._own_witness = self._witness

    def _note_own(self, group: list[RawChange]) -> None:
        own = self._keys.host(self._host)
        for one in group:
            if one.key == own:
                self._on_own_key(one.revision)
            elif one.value is None and one.key.startswith(self._keys.names):
                self._on_name_freed()
            elif one.value is None and one.key.startswith(self._keys.nodes):
                self._on_node_freed(one.key.removeprefix(self._keys.nodes).decode(errors="replace"))

    async def _show(self, heard: int | None) -> None:
        was_silent = heard is not None and self._local.show(heard=(heard, self._ttl_ns))
        self._on_applied()
        if was_silent:
            # Watches learn at once that the hosts can be reached. A registrar that does not answer notices it later.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._send([wire.ApplyRemote()])


def _raw(item: KeyValue) -> RawChange:
    return RawChange(item.key, item.value, item.mod_revision)


def _changed(change: KeyChange) -> RawChange:
    item = change.item
    return RawChange(item.key, None if change.deleted else item.value, item.mod_revision)
