"""Names for the whole cluster: a key that is created only where there is none, on the lease of the host.

Its token is the revision at which it was created, so every later holder has a larger one (fencing tokens: M. Kleppmann,
"How to do distributed locking", 2016; Burrows, "The Chubby lock service", OSDI 2006, calls them sequencers). A lease
may end by etcd's mistake, and then so does the key: the bridge claims it anew, under a larger token, or learns that
another host was first.

A request is a standby in the tables, so it outlives a registrar and a bridge. The bridge reads all of them when it is
woken, and asks etcd about each; one that waits is asked again when the key was deleted.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from .. import _wire as wire
from .._etcd.client import EtcdClient
from .._etcd.errors import EtcdError, OutcomeUnknown, Unavailable
from .._etcd.records import Compare, Delete, Get, KeyValue, Put, absent
from .._store.layout import Standby, key_of
from ..errors import ClusterUnavailable
from ..model import Entry, ProcessId
from .keys import Keys, id_of
from .local import LocalRegistry
from .records import NameRecord, decode_name, encode
from .tenure import Tenure

log = logging.getLogger("adsum.bridge")

# How long a request that does not wait may take while the host has no fence.
FENCE_SECONDS = 3.0
RETRY_SECONDS = 0.1
# The id of a holder that cannot be read.
UNREADABLE = b"?\0?\0?"


class Names:
    """The names that members of this host hold, and those that they ask for."""

    def __init__(self, etcd: EtcdClient, keys: Keys, local: LocalRegistry, tenure: Tenure) -> None:
        self._etcd = etcd
        self._keys = keys
        self._local = local
        self._tenure = tenure
        self._asked: dict[tuple[bytes, int], asyncio.Task[None]] = {}
        # Set and replaced when a name may be free, or the host has another fence.
        self._freed = asyncio.Event()
        local.on_wake = self.look
        local.on_end = self.ended

    # What the local registry says

    def look(self) -> None:
        """Take up new requests, and drop those that are over."""
        requests = {(one.session, one.number): one for one in self._local.name_requests()}
        for key in self._asked.keys() - requests.keys():
            self._asked.pop(key).cancel()
        for key, request in requests.items():
            if key not in self._asked:
                self._asked[key] = asyncio.create_task(self._decide(request))

    def ended(self, entry: Entry) -> None:
        """An entry here has ended: its name is free."""
        if entry.fencing_token:
            _keep(asyncio.create_task(self._release(self._key(entry.process_id), entry.fencing_token)))

    def freed(self) -> None:
        """A name was deleted somewhere, or this host has a new fence."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    # A request

    def _key(self, process_id: ProcessId) -> bytes:
        return self._keys.name(process_id.namespace, process_id.local_id)

    async def _decide(self, request: Standby) -> None:
        while True:
            freed = self._freed
            try:
                answer = await self._ask(request)
            except EtcdError as error:
                answer = self._unavailable(request, str(error))
                if answer is None:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            if answer is not None:
                await self._answer(request, answer)
                return
            await freed.wait()

    async def _ask(self, request: Standby) -> wire.NameAnswer | None:
        """What etcd says; None where another member holds the name, and the request waits. Errors: those of etcd."""
        if not self._tenure.fence:
            await self._fence(None if request.waits else FENCE_SECONDS)
        key, mine = self._key(request.process_id), NameRecord(self._tenure.host, key_of(request.process_id))
        guard = self._tenure.guard()
        try:
            done = await self._etcd.transaction(
                [guard, absent(key)], [Put(key, encode(mine), self._tenure.lease)], [Get(key)]
            )
        except OutcomeUnknown:
            # It may be carried out later, under this fence. The next question finds the key, or writes it.
            return await self._after_unknown(request)
        if done.succeeded:
            return self._granted(request, done.revision)
        items = done.pages()[0].items
        return self._about(request, items[0], mine) if items else await self._after_unknown(request)

    async def _after_unknown(self, request: Standby) -> wire.NameAnswer | None:
        await asyncio.sleep(RETRY_SECONDS)
        return await self._ask(request)

    def _about(self, request: Standby, item: KeyValue, mine: NameRecord) -> wire.NameAnswer | None:
        """The answer where there is a key."""
        holder = _holder_of(item)
        if holder == mine and not self._holds(request.process_id, item.create_revision):
            # Written by an earlier question, whose answer was lost.
            return self._granted(request, item.create_revision)
        if request.waits:
            return None
        return wire.NameAnswer(
            session=request.session,
            stand_by=request.number,
            reason="already_registered",
            holder=id_of(holder.key),
            host=holder.host,
        )

    def _holds(self, process_id: ProcessId, token: int) -> bool:
        entry = self._local.table.get(key_of(process_id))
        return entry is not None and entry.fencing_token == token

    def _granted(self, request: Standby, token: int) -> wire.NameAnswer:
        return wire.NameAnswer(session=request.session, stand_by=request.number, token=token)

    def _unavailable(self, request: Standby, message: str) -> wire.NameAnswer | None:
        if request.waits:
            return None
        reason = ClusterUnavailable.reason
        return wire.NameAnswer(session=request.session, stand_by=request.number, reason=reason, message=message)

    async def _fence(self, seconds: float | None) -> None:
        """Wait until the host has a fence. Errors: `Unavailable`."""
        try:
            async with asyncio.timeout(seconds):
                await self._tenure.established.wait()
        except TimeoutError as error:
            raise Unavailable("this host has no lease of the cluster; see adsum doctor") from error

    async def _answer(self, request: Standby, answer: wire.NameAnswer) -> None:
        done = await self._local.ask(answer)
        if answer.token and not done.changed:
            # The caller has given up, or has died.
            await self._release(self._key(request.process_id), answer.token)

    async def _release(self, key: bytes, token: int) -> None:
        """Delete a name of this host, unless it has another token by now."""
        while True:
            try:
                await self._etcd.transaction([Compare(key, "create_revision", "==", token)], [Delete(key)])
            except OutcomeUnknown:
                # Again is the same: the token is of no later holder.
                continue
            except EtcdError as error:
                log.warning("a name is released later: %s", error)
                await asyncio.sleep(1.0)
                continue
            return

    # A new fence

    async def reconcile(self) -> None:
        """Bring the names of this host in line with its members: keys without a member go, and members whose key was
        lost with the lease get it anew, under a larger token, or lose the name. Errors: those of etcd."""
        tenure = self._tenure
        present: dict[bytes, KeyValue] = {}
        async for page in self._etcd.pages(self._keys.names):
            for item in page.items:
                if _holder_of(item).host == tenure.host:
                    present[item.key] = item
        held = set()
        for entry in [one for one in self._local.table.values() if one.fencing_token]:
            key = self._key(entry.process_id)
            known = present.get(key)
            held.add(key)
            if known is None or (known.create_revision, known.lease) != (entry.fencing_token, tenure.lease):
                await self._claim_again(entry, key)
        asked = {self._key(one.process_id) for one in self._local.name_requests()}
        for key, item in present.items():
            if key not in asked | held:
                await self._release(key, item.create_revision)
        self.freed()

    async def _claim_again(self, entry: Entry, key: bytes) -> None:
        tenure = self._tenure
        record = NameRecord(tenure.host, key_of(entry.process_id))
        put = Put(key, encode(record), tenure.lease)
        held = Compare(key, "create_revision", "==", entry.fencing_token)
        done = await self._etcd.transaction([tenure.guard(), held], [put])
        if done.succeeded:
            return
        done = await self._etcd.transaction([tenure.guard(), absent(key)], [put], [Get(key)])
        token = done.revision if done.succeeded else 0
        if not token and (items := done.pages()[0].items) and _holder_of(items[0]) == record:
            token = items[0].create_revision
        if not token and not done.pages()[0].items:
            # The fence was lost again; the next one begins anew.
            return
        log.warning("%s %s", entry.process_id, f"has the token {token} now" if token else "has lost its name")
        await self._local.ask(wire.Retoken(process_id=entry.process_id, incarnation=entry.incarnation, token=token))


def _holder_of(item: KeyValue) -> NameRecord:
    """Who holds a name. What cannot be read was written by a host that may do so, and holds the name all the same."""
    try:
        holder = decode_name(item.value)
        id_of(holder.key)
    except (msgspec.DecodeError, ValueError):
        return NameRecord("", UNREADABLE)
    return holder


# Tasks that run to their end by themselves; the event loop holds weak references only.
_running: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _running.add(task)
    task.add_done_callback(_running.discard)
