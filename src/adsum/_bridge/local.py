"""The local registry, as the bridge sees it: its own members, and the tables that take those of other hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from .. import _wire as wire
from .._client.pending_call import PendingCall
from .._store.layout import Standby, encode, key_of
from .._store.query import ALL
from ..aio.registry import AsyncRegistry
from ..errors import AdsumError
from ..model import Entry, Event, Kind
from .records import Ended, Published

# How long a request to the registrar may take before it is sent again.
SEND_SECONDS = 30.0

# The key of an id whose entry has changed or ended, and how it ended.
OnChange = Callable[[bytes, Ended | None], None]


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
        # Set when the registry was made anew.
        self.rebuilt = asyncio.Event()
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
        return None if entry is None else encode(Published(_outward(entry), self.epoch))

    # Changes here

    async def follow(self) -> None:
        """Take changes as they come, and new requests for names, for ever."""
        while True:
            self.catch_up()
            self.on_wake()
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
                self.on_change(key, Ended(key, event.kind.value, event.exit))
            else:
                self.table[key] = event.entry
                self.on_change(key, None)

    def _rebuild(self) -> None:
        """Changes were missed, or the registry was made anew: then it has nothing of other hosts."""
        before, epoch = self.table, self._known_epoch
        self._take_snapshot()
        for key in before.keys() - self.table.keys():
            self.on_end(before[key])
            self.on_change(key, Ended(key, "unregistered"))
        for key in self.table:
            self.on_change(key, None)
        if epoch != self._known_epoch:
            self.rebuilt.set()

    def _take_snapshot(self) -> None:
        self.table = {key_of(entry.process_id): entry for entry in self._watch.snapshot}
        self._known_epoch = self.epoch

    # Other hosts

    async def send(self, request: wire.Mirror) -> None:
        """Have the registrar apply what was heard, also over its end. Errors: `RegistryClosed`."""
        await self.ask(request)

    def name_requests(self) -> list[Standby]:
        """What members here ask for: names for the whole cluster."""
        return self.registry._reader.name_requests()

    async def ask(self, request: wire.AnyRequest) -> wire.Done:
        """The answer of the registrar, or of the next one. Errors: `RegistryClosed`."""
        while True:
            call: PendingCall[wire.Done] = PendingCall(request, _whole, SEND_SECONDS)
            self.registry._client.pipeline.submit(call)
            try:
                return await asyncio.wrap_future(call.future)
            except AdsumError as error:
                if error.reason == "registry_closed":
                    raise
                await asyncio.sleep(0.5)

    def known(self) -> dict[str, set[bytes]]:
        """The keys of the entries of other hosts in the tables, by host; also of hosts without one."""
        return self.registry._reader.mirrored()

    def show(
        self,
        *,
        heard: tuple[int, int] | None = None,
        published: int | None = None,
        applied: int | None = None,
        vouched: int | None = None,
    ) -> None:
        """Show the readers how far the bridge is; see `HostWords`. `heard` is when the cluster was heard, all of which
        is in the tables, and for how long that counts, in nanoseconds. None leaves what was shown before."""
        latest = {"heard": heard, "published": published, "applied": applied, "vouched": vouched}
        self._shown |= {name: value for name, value in latest.items() if value is not None}
        board = self.registry._client.board
        try:
            board.attach()
        except AdsumError:
            # No registry, for the moment: there are no readers either. The next call shows all.
            return
        shown = self._shown
        board.hosts.note_progress(shown.get("published"), shown.get("applied"), shown.get("vouched"))
        if "heard" in shown:
            board.hosts.note_heard(*shown["heard"])

    async def close(self) -> None:
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


def _whole(done: wire.Done) -> wire.Done:
    return done


def _no_request() -> None:
    return None


def _no_end(_entry: Entry) -> None:
    return None


def _nothing(_key: bytes, _ended: Ended | None) -> None:
    return None
