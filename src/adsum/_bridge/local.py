"""The local registry, as the bridge sees it: its own members, and the tables that take those of other hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from .. import _wire as wire
from .._client.pending_call import PendingCall
from .._store.layout import Standby, encode, key_of
from .._store.query import ALL
from ..aio.registry import AsyncRegistry
from ..errors import AdsumError, InternalError, InvalidMetadata, InvalidProcessId, RegistryClosed, RegistryFull
from ..model import Entry, Event, Kind
from .ends import UnseenEnds
from .exits import AwaitedExits
from .records import EndRecord, PublishedEntry

log = logging.getLogger("adsum.bridge")

# How long a request to the registrar may take before it is sent again, and the pause before that.
SEND_SECONDS = 30.0
RETRY_SECONDS = 0.5
# How long what other hosts have registered waits for room.
FULL_SECONDS = 1.0
# The registrar cannot carry out such a request, however often it is asked.
DEFECTS = (InternalError.reason, InvalidMetadata.reason, InvalidProcessId.reason)

# The key of an id whose entry has changed or ended; how it ended; and the revision at which it did so, or one before.
OnChange = Callable[[bytes, EndRecord | None, int], None]


class LocalRegistry:
    """``async with LocalRegistry(folder) as local: ...``. `table` has its own members, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = AsyncRegistry(
            "default", path=folder, namespace="default", node=None, timeout=None, limits=None, cluster=""
        )
        self.table: dict[bytes, Entry] = {}
        self._watch = self.registry.watch(namespace=ALL, hosts="here")
        self.on_change: OnChange = _nothing
        # Called when there may be new requests for names; and with each entry that has ended.
        self.on_wake: Callable[[], None] = _no_request
        self.on_end: Callable[[Entry], None] = _no_end
        # Called with each entry whose name was handed over to it, and has no token yet.
        self.on_hand_over: Callable[[Entry], None] = _no_end
        # Called when there is a registry for the first time.
        self.on_made: Callable[[], None] = _no_request
        # Called when the registry was made anew.
        self.on_rebuilt: Callable[[], None] = _no_request
        # The exits of members here that become known after their deaths.
        self.exits = AwaitedExits(self.registry._reader.reports.departure_of)
        self._known_epoch = 0
        self._shown: dict[str, Any] = {}
        self._take_snapshot()

    @property
    def node(self) -> str:
        """The registry's own node."""
        return self.registry.node

    @property
    def revision(self) -> int:
        """Every change up to this revision is in `table`."""
        return self._watch.revision

    @property
    def epoch(self) -> int:
        return self._watch.revision.epoch

    def value(self, key: bytes) -> bytes | None:
        """What is to be published under a key; None where no member has it."""
        entry = self.table.get(key)
        return None if entry is None else encode(PublishedEntry(_outward(entry), self.epoch))

    # Changes here

    async def follow(self) -> None:
        """Take changes as they come, and new requests for names, for ever."""
        while True:
            self.catch_up()
            if self.epoch and not self._known_epoch:
                self._known_epoch = self.epoch
                self.on_made()
            self.on_wake()
            self.exits.look_soon()
            await self._watch._wake_up()

    def catch_up(self) -> None:
        """Take all changes up to the present, at once."""
        while (event := self._watch._take()) is not None:
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.kind is Kind.lagged:
            self._rebuild()
        elif event.entry is not None:
            key = key_of(event.entry.process_id)
            if event.kind in (Kind.unregistered, Kind.died):
                self.table.pop(key, None)
                self.on_end(event.entry)
                how = self._how(event.entry, event)
                ended: EndRecord | None = EndRecord(key, how, event.exit, event.entry.incarnation)
                if event.kind is Kind.died and event.exit is None:
                    self.exits.add(event.entry, event.revision)
            else:
                ended = _handed_over(key, self.table.get(key), event.entry)
                self.table[key] = event.entry
                if event.entry.fencing_token < 0:
                    self.on_hand_over(event.entry)
            self._taken = self.revision
            # Not `_taken`, which may be later: changes of other hosts that come next count as taken, too.
            self.on_change(key, ended, event.revision)

    def unseen_ends(self) -> UnseenEnds:
        """How members here ended of which no change was seen."""
        return UnseenEnds(self.registry._reader, self.epoch)

    def _how(self, entry: Entry, event: Event) -> str:
        """How an entry ended, as the departure here says; what the event says where that is not kept any more."""
        departure = self.registry._reader.reports.departure_of(entry, event.revision)
        return event.kind.value if departure is None else departure.how

    def _rebuild(self) -> None:
        """Changes were missed, or the registry was made anew: then it has nothing of other hosts."""
        before, epoch, since = self.table, self._known_epoch or self.epoch, self._taken + 1
        self._take_snapshot()
        if epoch != self._known_epoch:
            since = 0
            self.exits.clear()
            self.on_rebuilt()
        ends = self.unseen_ends()
        for key, entry in before.items():
            after = self.table.get(key)
            if after is None or after.incarnation != entry.incarnation or epoch != self._known_epoch:
                if after is None or abs(after.fencing_token) != abs(entry.fencing_token):
                    self.on_end(entry)
                present = None if after is None else after.incarnation
                ended = ends.of(key, entry.incarnation, present) if epoch == self._known_epoch else None
                self.on_change(key, ended or EndRecord(key, "unknown"), since)
        for key, entry in self.table.items():
            self.on_change(key, None, since)
            if entry.fencing_token < 0:
                self.on_hand_over(entry)

    def _take_snapshot(self) -> None:
        self.table = {key_of(entry.process_id): entry for entry in self._watch.snapshot}
        self._known_epoch, self._taken = self.epoch, self.revision

    # Other hosts

    async def send(self, request: wire.ApplyRemote) -> None:
        """Have the registrar apply what was heard, also over its end. Errors: `RegistryClosed`."""
        while True:
            try:
                await self.ask(request, raises=(*DEFECTS, RegistryFull.reason))
            except RegistryFull as error:
                log.warning("what other hosts have registered waits for room: %s", error)
                # What has ended is not to wait.
                await self.send(_losing(request, [change for change in request.changes if change.entry is None]))
                await asyncio.sleep(FULL_SECONDS)
                continue
            except AdsumError as error:
                if error.reason not in DEFECTS:
                    raise
                await self._send_parts(request, error)
            return

    async def _send_parts(self, request: wire.ApplyRemote, error: AdsumError) -> None:
        """Send a request that the registrar cannot carry out in two parts; a change that is at fault is left out."""
        changes = request.changes
        if len(changes) > 1:
            middle = len(changes) // 2
            await self.send(_losing(request, changes[:middle]))
            await self.send(wire.ApplyRemote(hosts=request.hosts, changes=changes[middle:], exits=request.exits))
        elif changes:
            log.error("left out %.200s of the host %r: %s", changes[0].process_id, changes[0].host, error)
            await self.send(wire.ApplyRemote(hosts=request.hosts, exits=request.exits))
        elif request.exits:
            log.error("left out the exits of %d members of other hosts: %s", len(request.exits), error)
            await self.send(wire.ApplyRemote(hosts=request.hosts))
        else:
            log.error("left out what was heard of the hosts %s: %s", [host.host for host in request.hosts], error)

    def name_requests(self) -> list[Standby]:
        """What members here ask for: names for the whole cluster."""
        return self.registry._reader.reports.name_requests()

    async def ask(self, request: wire.AnyRequest, raises: Container[str] = DEFECTS) -> wire.Done:
        """The answer of the registrar, or of the next one. Errors: `RegistryClosed`; those with a reason in `raises`,
        which asking again would not mend."""
        while True:
            call: PendingCall[wire.Done] = PendingCall(request, _whole, SEND_SECONDS)
            self.registry._client.pipeline.submit(call)
            try:
                return await asyncio.wrap_future(call.future)
            except AdsumError as error:
                if error.reason == RegistryClosed.reason or error.reason in raises:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def answers(self, seconds: float) -> bool:
        """Whether the registrar answers within so many seconds, or the next one. Errors: `RegistryClosed`."""
        try:
            async with asyncio.timeout(seconds):
                await self.ask(wire.ApplyRemote(), (*DEFECTS, RegistryFull.reason))
        except RegistryClosed:
            raise
        except TimeoutError:
            return False
        except AdsumError as error:
            log.debug("the registrar refuses a request without content: %s", error)
        return True

    def known(self) -> dict[str, set[bytes]]:
        """The keys of the entries of other hosts in the tables, by host; also of hosts without one."""
        return self.registry._reader.reports.remote_keys()

    def newest_fence(self) -> int:
        """The largest fence of another host in the tables: a revision that etcd has had."""
        return max((host.fence for host in self.registry._reader.reports.hosts()), default=0)

    def show(
        self,
        *,
        heard: tuple[int, int] | None = None,
        published: int | None = None,
        applied: int | None = None,
        vouched: int | None = None,
    ) -> bool:
        """Show the readers how far the bridge is; see `HostWords`. `heard` is when the cluster was heard, all of which
        is in the tables, and for how long that counts, in nanoseconds. None leaves what was shown before. Returns
        whether what was heard last counted no more, so that readers took all other hosts for unreachable."""
        latest = {"heard": heard, "published": published, "applied": applied, "vouched": vouched}
        self._shown |= {name: value for name, value in latest.items() if value is not None}
        board = self.registry._client.board
        try:
            board.attach()
        except AdsumError:
            # No registry, for the moment: there are no readers either. The next call shows all.
            return False
        shown, was_silent = self._shown, not board.hosts.hears()
        board.hosts.note_progress(shown.get("published"), shown.get("applied"), shown.get("vouched"))
        if "heard" in shown:
            board.hosts.note_heard(*shown["heard"])
        return was_silent

    async def close(self) -> None:
        self.exits.clear()
        self._watch.close()
        await self.registry.close()

    async def __aenter__(self) -> LocalRegistry:
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()


def _outward(entry: Entry) -> Entry:
    """The entry, with the present values of its gauges, and without its place in the memory of this machine."""
    metadata = entry.metadata
    if metadata.gauges:
        metadata = msgspec.structs.replace(metadata, gauges=entry.gauges)
    return msgspec.structs.replace(entry, metadata=metadata, row_place=0)


def _handed_over(key: bytes, before: Entry | None, after: Entry) -> EndRecord | None:
    """How the entry before ended where another one took its id in the same step."""
    if before is None or before.incarnation == after.incarnation:
        return None
    return EndRecord(key, "handed_over", None, before.incarnation)


def _losing(request: wire.ApplyRemote, changes: Sequence[wire.RemoteChange]) -> wire.ApplyRemote:
    """A part of a request: these changes, and no host is here after it that was not before."""
    hosts = [msgspec.structs.replace(one, state="returning") if one.state == "here" else one for one in request.hosts]
    return wire.ApplyRemote(hosts=hosts, changes=list(changes))


def _whole(done: wire.Done) -> wire.Done:
    return done


def _no_request() -> None:
    return None


def _no_end(_entry: Entry) -> None:
    return None


def _nothing(_key: bytes, _ended: EndRecord | None, _since: int) -> None:
    return None
