"""Names for the whole cluster: a key that is created only where there is none, on the lease of the host.

Its token is the revision at which it was last written, so every later holder has a larger one (fencing tokens: M.
Kleppmann, "How to do distributed locking", 2016; Burrows, "The Chubby lock service", OSDI 2006, calls them sequencers).
A lease may end by etcd's mistake, and then so does the key: the bridge claims it anew, under a larger token, or learns
that another host was first.

Where a member hands the name over, the registrar marks the token of the new holder as one that has to be renewed, by
its sign, and the bridge writes the key once more: no other host finds it free on the way.

The key names the request that created it, so that a question whose answer was lost knows its own key again, and no
other request takes the token of one that has ended for its own.

A request is a standby in the tables, so it outlives a registrar and a bridge. The bridge reads all of them when it is
woken, and asks etcd about each; one that waits is asked again when the key was deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from .. import _wire as wire
from .._etcd.client import EtcdClient
from .._etcd.errors import EtcdError, OutcomeUnknown, Unavailable
from .._etcd.records import Compare, Delete, Get, KeyValue, Put, absent
from .._store.layout import Standby, key_of
from ..errors import AdsumError, ClusterUnavailable
from ..model import Entry, ProcessId
from .keys import Keys
from .local import LocalRegistry
from .name_holders import granted, held_by, holder_of, renewal_of, request_of
from .records import NameRecord, encode
from .tenure import FenceLost, HostTenure

log = logging.getLogger("adsum.bridge")

# How long a request that does not wait may take while the host has no fence.
FENCE_SECONDS = 3.0
RETRY_SECONDS = 0.1
# How long to wait before a name is released once more.
RELEASE_SECONDS = 1.0


class Question:
    """A request that is being asked. `dropped`: it is not in the tables any more, so it needs no answer."""

    def __init__(self, standby: Standby) -> None:
        self.standby = standby
        self.dropped = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        self.dropped.set()
        if self.task is not None:
            _keep(self.task)


class HostNames:
    """The names that members of this host hold, and those that they ask for. `trouble` says why this host has no lease
    of the cluster, where it has none."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        local: LocalRegistry,
        tenure: HostTenure,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._local = local
        self._tenure = tenure
        self._trouble = trouble
        self._questions: dict[bytes, Question] = {}
        # Set and replaced when a name may be free, or the host has another fence.
        self._freed = asyncio.Event()
        # Tokens are renewed one after the other: the last one that is written has to be the last that arrives.
        self._renewing = asyncio.Lock()
        # The number of the tenure under which the names were brought in line with the members here.
        self._reconciled = 0
        local.on_wake = self.look

    @property
    def is_reconciled(self) -> bool:
        """Whether the names of this host are those of its members, under the present fence."""
        return self._tenure.holds and self._reconciled == self._tenure.number

    # What the local registry says

    def look(self) -> None:
        """Take up new requests, and drop those that are over."""
        requests = {request_of(one): one for one in self._local.name_requests()}
        for request in self._questions.keys() - requests.keys():
            self._questions.pop(request).drop()
        for request, standby in requests.items():
            if request not in self._questions:
                self._questions[request] = question = Question(standby)
                question.task = asyncio.create_task(self._decide(question))

    def ended(self, entry: Entry) -> None:
        """An entry here has ended: its name is free."""
        if entry.fencing_token:
            _keep(asyncio.create_task(self._release_of(entry)))

    def handed_over(self, entry: Entry) -> None:
        """An entry here has a name, and another holder than its token is for."""
        _keep(asyncio.create_task(self._renew(entry)))

    def freed(self) -> None:
        """A name was deleted somewhere, or this host has a new fence."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def close(self) -> None:
        tasks = [question.task for question in self._questions.values() if question.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # A request

    def _key(self, process_id: ProcessId) -> bytes:
        return self._keys.name(process_id.namespace, process_id.local_id)

    async def _decide(self, question: Question) -> None:
        """Ask until there is an answer. A request that was dropped is asked to the end of its present attempt: a
        question in the middle may have created the key, which has to be deleted then."""
        standby = question.standby
        while not question.dropped.is_set():
            freed = self._freed
            try:
                answer = await self._ask(standby)
            except OutcomeUnknown as error:
                # The key may be created later, under this fence. So there has to be another.
                self._tenure.end(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except EtcdError as error:
                answer = self._unavailable(standby, str(error))
                if answer is None:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            if answer is not None:
                await self._answer(standby, answer)
                return
            await _first_of(freed, question.dropped)

    async def _ask(self, standby: Standby) -> wire.NameAnswer | None:
        """What etcd says; None where another member holds the name, and the request waits. Errors: those of etcd."""
        while True:
            await self._until_reconciled(None if standby.waits else FENCE_SECONDS)
            key, tenure = self._key(standby.process_id), self._tenure
            mine = NameRecord(tenure.host, key_of(standby.process_id), request_of(standby))
            done = await self._etcd.transaction(
                [tenure.guard(), absent(key)], [Put(key, encode(mine), tenure.lease)], [Get(key)]
            )
            if done.succeeded:
                return granted(standby, done.revision)
            items = done.pages()[0].items
            if not items:
                # The fence is lost, or the name was freed at this moment.
                await asyncio.sleep(RETRY_SECONDS)
            elif (holder := holder_of(items[0])) == mine:
                # Written by an earlier question, whose answer was lost.
                return granted(standby, items[0].mod_revision)
            elif self._is_left_over(holder, items[0]):
                await self._release(key, items[0].mod_revision)
            else:
                return held_by(standby, holder)

    def _is_left_over(self, holder: NameRecord, item: KeyValue) -> bool:
        """Whether a name of this host is that of no member and of no request: its holder has just ended, or never
        came to be."""
        if holder.host != self._tenure.host or holder.request in self._requests():
            return False
        # After the requests were read: one that was granted meanwhile is a member now.
        self._local.catch_up()
        entry = self._local.table.get(holder.key)
        if entry is None or not entry.fencing_token:
            return True
        is_renewed = entry.fencing_token < 0 or holder.request == renewal_of(entry)
        return not is_renewed and entry.fencing_token != item.mod_revision

    def _requests(self) -> set[bytes]:
        return set(map(request_of, self._local.name_requests()))

    def _unavailable(self, standby: Standby, message: str) -> wire.NameAnswer | None:
        if standby.waits:
            return None
        reason = ClusterUnavailable.reason
        return wire.NameAnswer(session=standby.session, stand_by=standby.number, reason=reason, message=message)

    async def _until_reconciled(self, seconds: float | None) -> None:
        """Wait until the host has a fence, under which the names of its members are known to be theirs. Errors:
        `Unavailable`."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_reconciled:
                    await self._freed.wait()
        except TimeoutError as error:
            why = self._trouble()
            raise Unavailable(
                f"this host has no lease of the cluster{': ' if why else ''}{why}; see adsum doctor"
            ) from error

    async def _answer(self, standby: Standby, answer: wire.NameAnswer) -> None:
        try:
            changed = (await self._local.ask(answer)).changed
        except AdsumError as error:
            log.error("a request for a name could not be answered: %s", error)
            changed = False
        if answer.token and not changed:
            # The caller has given up, or has died.
            await self._release(self._key(standby.process_id), answer.token)

    async def _release_of(self, entry: Entry) -> None:
        """Release the name of an entry that has ended, unless it was registered anew in the same commit."""
        after = self._local.table.get(key_of(entry.process_id))
        if after is None or abs(after.fencing_token) != abs(entry.fencing_token):
            await self._release(self._key(entry.process_id), abs(entry.fencing_token))

    async def _release(self, key: bytes, token: int) -> None:
        """Delete a name of this host, unless it has another token by now, or is another host's: in an etcd that started
        empty the same token may be given once more."""
        while True:
            try:
                page = await self._etcd.range(key)
                mine = [item for item in page.items if holder_of(item).host == self._tenure.host]
                for item in mine:
                    same = [Compare(key, "mod_revision", "==", token), Compare(key, "value", "==", item.value)]
                    await self._etcd.transaction(same, [Delete(key)])
            except OutcomeUnknown:
                # Again is the same: the token is of no later holder.
                continue
            except EtcdError as error:
                log.warning("a name is released later: %s", error)
                await asyncio.sleep(RELEASE_SECONDS)
                continue
            return

    # A new fence

    async def reconcile(self) -> None:
        """Bring the names of this host in line with its members: keys without a member go, and members whose key was
        lost with the lease get it anew, under a larger token, or lose the name. Errors: those of etcd."""
        tenure, number = self._tenure, self._tenure.number
        present: dict[bytes, KeyValue] = {}
        async for page in self._etcd.pages(self._keys.names):
            present |= {item.key: item for item in page.items if holder_of(item).host == tenure.host}
        for key, item in present.items():
            if self._is_left_over(holder_of(item), item):
                await self._release(key, item.mod_revision)
        for entry in [one for one in self._local.table.values() if one.fencing_token]:
            known = present.get(self._key(entry.process_id))
            if known is None or (known.mod_revision, known.lease) != (entry.fencing_token, tenure.lease):
                async with self._renewing:
                    await self._claim_again(entry)
        self._reconciled = number
        self.freed()

    async def _renew(self, entry: Entry) -> None:
        """Give an entry whose name was handed over a token of its own, however long that takes."""
        while True:
            await self._until_reconciled(None)
            try:
                async with self._renewing:
                    self._local.catch_up()
                    present = self._local.table.get(key_of(entry.process_id))
                    if present is None or present.fencing_token >= 0:
                        return
                    await self._claim_again(present)
            except OutcomeUnknown as error:
                # As in `_decide`.
                self._tenure.end(error)
            except (EtcdError, FenceLost) as error:
                log.warning("%s has to wait for its token: %s", entry.process_id, error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _claim_again(self, entry: Entry) -> None:
        """Have the name of an entry under a new token, or take it away where another has it. Errors: those of etcd."""
        while True:
            key = self._key(entry.process_id)
            token = await self._written_anew(entry, key)
            log.warning("%s %s", entry.process_id, f"has the token {token} now" if token else "has lost its name")
            request = wire.Retoken(process_id=entry.process_id, incarnation=entry.incarnation, token=token)
            if (await self._local.ask(request)).changed:
                self._local.catch_up()
                return
            self._local.catch_up()
            after = self._local.table.get(key_of(entry.process_id))
            if after is None or abs(after.fencing_token) != abs(entry.fencing_token):
                # It has ended meanwhile, and its end has released an older token.
                if token:
                    await self._release(key, token)
                return
            # It was handed over once more, or registered anew.
            entry = after

    async def _written_anew(self, entry: Entry, key: bytes) -> int:
        """Write the key of an entry once more, or create it where it is gone, and return its token. 0 where another
        holds the name. Errors: those of etcd."""
        tenure = self._tenure
        put = Put(key, encode(NameRecord(tenure.host, key_of(entry.process_id), renewal_of(entry))), tenure.lease)
        same = [absent(key)]
        for item in (await self._etcd.range(key)).items:
            if not self._is_mine(holder_of(item), entry):
                return 0
            # Also the value: in an etcd that started empty, another host's may have the same revision.
            same = [Compare(key, "mod_revision", "==", item.mod_revision), Compare(key, "value", "==", item.value)]
        done = await self._etcd.transaction([tenure.guard(), *same], [put])
        if not done.succeeded:
            # The fence was lost again, or the name was freed at this moment.
            raise FenceLost("the key of the host was removed or written by another")
        return done.revision

    def _is_mine(self, holder: NameRecord, entry: Entry) -> bool:
        """Whether a key is that of an entry here, and of no request for its id."""
        is_mine = (holder.host, holder.key) == (self._tenure.host, key_of(entry.process_id))
        return is_mine and holder.request not in self._requests()


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of these is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


# Tasks that run to their end by themselves; the event loop holds weak references only.
_running: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _running.add(task)
    task.add_done_callback(_running.discard)
