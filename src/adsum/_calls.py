"""The writes of one registry: what each call asks the registrar for, and the two ways to send it.

A write takes two steps:

    write = calls.update("planner-1", {"endpoint": "tcp://..."}, None)    # checks the arguments, makes the request
    done = calls.wait(write, timeout)                                     # sends it, and waits for the reply

`Registry` waits in the caller's thread, over the connection pool. `AsyncRegistry` and `register_nowait` submit the
write to the pipeline and get a future. The requests are the same, and are made here once.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import compress
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from . import _wire as wire
from ._amendment import parse_amendment
from ._client.client import Client
from ._client.connection_pool import seconds
from ._client.interrupted import InterruptedRegistration
from ._client.keeper import ASK_SECONDS, Holder, KeptEntry, fields_of
from ._client.member_call import MemberCall
from ._client.member_end import MemberEnd
from ._client.member_heartbeat import heartbeat_thread, promised
from ._client.member_lifetimes import Member
from ._client.pending_call import PendingCall
from ._client.pipeline import CLOSE_SECONDS
from ._client.stand_by_call import StandByCall
from ._client.target import AnyProcess, resolve
from ._everywhere import NameMode, register_anew, require_cluster
from ._instrument import CallPoint, Observation, instrument
from ._os import identity
from ._other_location import name_other_location
from ._reads import AnyId
from ._store.reader import Reader
from ._validation import check_flag, parse_id, parse_metadata
from .errors import AdsumError, InvalidProcessId, NotRegistered, Stale
from .member_gauges import EntryHolder, Gauges
from .model import Entry, Owner, OwningMember, ProcessId

T = TypeVar("T")
Q = TypeVar("Q", bound=wire.AnyRequest)
Items: TypeAlias = Sequence[tuple[AnyId, Mapping[str, object]]]


# Tuples: a union would be built at every call.
_MAKING_AN_ENTRY = (wire.Register, wire.StandBy, wire.StandByEverywhere, wire.HandOver)
# The requests about an entry that exists.
_ABOUT_AN_ENTRY = (
    wire.Update,
    wire.Amend,
    wire.Unregister,
    wire.Heartbeat,
    wire.HandOver,
    wire.UpdateMany,
    wire.UnregisterMany,
    wire.Claim,
    wire.Release,
)


class Write(Observation, Generic[Q]):
    """A write: its `request`, which is made inside ``with write:``; the thread or task that it registers; for which of
    its items a thread of adsum's sends heartbeats; and with what its observation began."""

    __slots__ = ("begin", "by_thread", "call", "member", "request")

    request: Q
    begin: CallPoint | None
    call: str
    member: Member
    by_thread: Sequence[bool]


class Calls:
    """Makes and sends the writes of one registry object.

    It keeps the client open. `close` closes it, and so does the garbage collector once no registry, registration or
    watch refers to this object.
    """

    def __init__(self, client: Client, namespace: str, node: str | None, timeout: float | None) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self.timeout = timeout
        # By number: the claimer and the member of each claim that was granted through this object and not released.
        self.claims: dict[int, tuple[Owner, ProcessId]] = {}
        # By the incarnation of its entry: each such claim in the whole cluster.
        self.cluster_claims: dict[int, Entry] = {}
        self._reference = weakref.ref(self)
        self._finalizer = weakref.finalize(self, client.drop)
        self._finalizer.atexit = False

    @property
    def reader(self) -> Reader:
        return self._client.reader

    def close(self) -> None:
        """Release the claims, and close the client. Closing twice is fine."""
        if self._finalizer.detach():
            heartbeat_thread.end(self)
            self._release_claims()
            self._client.close()

    def _release_claims(self) -> None:
        """Release the claims of this process. One whose release no registrar answers in time ends with the process."""
        with contextlib.suppress(AdsumError):
            for number, (owner, process_id) in list(self.claims.items()):
                # No registrar is started for a member that is gone.
                entry = self._client.reader.lookup(process_id) if owner == identity.current() else None
                if entry is not None and number in {record.number for record in entry.claims}:
                    self._client.pool.ask(wire.Release(owner=owner, number=number), CLOSE_SECONDS)
            for incarnation, claimed in list(self.cluster_claims.items()):
                entry = self._client.reader.lookup(claimed.process_id) if claimed.owner == identity.current() else None
                # Another claim of this process may have the slot by now.
                if entry is not None and entry.incarnation == incarnation:
                    request = wire.Unregister(process_id=entry.process_id, if_incarnation=incarnation)
                    self._client.pool.ask(request, CLOSE_SECONDS)

    # Making

    def register(
        self,
        items: Items,
        process: AnyProcess | None,
        *,
        or_get: bool = False,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
    ) -> Write[wire.Register]:
        """Register all `items`, or none, for `process`; with `or_get`, get the holder where the only one is held; with
        `replace`, register anew what the process itself holds; with `owned_by`, as dependants of that member."""
        call = "get_or_register" if or_get else "register"
        write: Write[wire.Register] = self._write(instrument.register, call, items[0][0])
        with write:
            if replace is not False:
                check_flag("replace", replace)
            target = resolve(process)
            promises = [promised(metadata, target) for _, metadata in items]
            write.by_thread = [by_thread for _, by_thread in promises]
            checked = [
                (self._id(id), parse_metadata(fields)) for (id, _), (fields, _) in zip(items, promises, strict=True)
            ]
            if any(write.by_thread):
                heartbeat_thread.prepare()
            if process is None or target.owner == identity.current():
                self._client.hold_lifeline()
            self._client.exit_reports.expect(target.owner, process)
            is_bound = target.member is not None
            owning = None if owned_by is None else self._owning_member(owned_by)
            write.request = _registration(
                owning, owner=target.owner, items=checked, bound=is_bound, or_get=or_get, replace=replace
            )
            write.member = target.member
            if is_bound:
                self._client.pipeline.hold_entries()
        return write

    def _owning_member(self, owned_by: AnyId | Entry) -> OwningMember:
        """The member that is to own an entry. Errors: `NotRegistered`, `InvalidProcessId`."""
        entry = owned_by if isinstance(owned_by, Entry) else None
        if entry is None:
            process_id = self._id(owned_by)
            # Without a node there is no registry yet.
            entry = self._client.reader.lookup(process_id) if process_id.node else None
            if entry is None:
                error = NotRegistered(
                    f"{process_id.local_id} is not registered (or its process has died), so it can own no entry; "
                    "register it first"
                )
                raise name_other_location(error, self._client)
        if entry.origin is not None:
            raise InvalidProcessId(
                f"{entry.process_id} is a member of another host, whose kernel alone sees its process end; give a "
                "member of this host as owned_by="
            )
        return OwningMember(entry.process_id, entry.incarnation, *entry.owner)

    def update(
        self, id: AnyId, metadata: Mapping[str, object], if_incarnation: int | None, *, checked: bool = False
    ) -> Write[wire.Update]:
        """Replace the given fields; `checked`: and make `last_health_check` the time of the change."""
        write: Write[wire.Update] = self._write(instrument.update, "update_health" if checked else "update", id)
        with write:
            process_id, fields = self._id(id), parse_metadata(metadata)
            _check_incarnation(if_incarnation)
            write.request = wire.Update(
                process_id=process_id, fields=fields, if_incarnation=if_incarnation, checked=checked
            )
        return write

    def amend(
        self,
        id: AnyId,
        metadata: Mapping[str, object],
        if_incarnation: int | None,
        *,
        merge: bool = False,
        add: Mapping[str, int | float] | None = None,
        if_revision: int | None = None,
    ) -> Write[Any]:
        """Update an entry from its present values. Where nothing asks for that, it is an `update`, which every version
        of the registrar knows."""
        if merge is False and add is None and if_revision is None:
            return self.update(id, metadata, if_incarnation)
        write: Write[wire.Amend] = self._write(instrument.update, "update", id)
        with write:
            process_id = self._id(id)
            amendment = parse_amendment(metadata, merge=merge, add=add)
            _check_incarnation(if_incarnation)
            _check_revision(if_revision)
            write.request = wire.Amend(
                process_id=process_id,
                fields=amendment.fields,
                if_incarnation=if_incarnation,
                # A `Revision` is an int of a class of its own.
                if_revision=None if if_revision is None else int(if_revision),
                merged=amendment.merged,
                added=amendment.added,
            )
        return write

    def unregister(self, id: AnyId, if_incarnation: int | None) -> Write[wire.Unregister]:
        write: Write[wire.Unregister] = self._write(instrument.unregister, "unregister", id)
        with write:
            _check_incarnation(if_incarnation)
            write.request = wire.Unregister(process_id=self._id(id), if_incarnation=if_incarnation)
        return write

    def update_many(self, items: Items) -> Write[wire.UpdateMany]:
        """Replace the given fields of several entries, of all or none."""
        write: Write[wire.UpdateMany] = self._write(instrument.update, "update", items[0][0])
        with write:
            write.request = wire.UpdateMany(items=[(self._id(id), parse_metadata(metadata)) for id, metadata in items])
        return write

    def unregister_many(self, items: Sequence[tuple[AnyId, int | None]]) -> Write[wire.UnregisterMany]:
        """Remove several entries at once. Of one with an incarnation, no other incarnation."""
        write: Write[wire.UnregisterMany] = self._write(instrument.unregister, "unregister", items[0][0])
        with write:
            write.request = wire.UnregisterMany(items=[(self._id(id), incarnation) for id, incarnation in items])
        return write

    def heartbeat(self, id: AnyId, if_incarnation: int | None) -> Write[wire.Heartbeat]:
        write: Write[wire.Heartbeat] = self._write(instrument.heartbeat, "heartbeat", id)
        with write:
            process_id, owner = self._id(id), resolve(None).owner
            write.request = wire.Heartbeat(process_id=process_id, owner=owner, if_incarnation=if_incarnation)
        return write

    def hand_over(self, entry: Entry, process: Any) -> Write[wire.HandOver]:
        """Give the id of `entry` to another process. Errors: `TypeError` where that is none, or a thread or task."""
        write: Write[wire.HandOver] = self._write(instrument.update, "hand_over", entry.process_id)
        with write:
            target = resolve(process)
            if process is None:
                raise TypeError("hand_over(None): give the process that is to hold the id from now on")
            if target.member is not None:
                raise TypeError(
                    "an id is handed over to another process; a thread or task of this one can register itself"
                )
            self._client.exit_reports.expect(target.owner, process)
            write.request = wire.HandOver(
                process_id=entry.process_id,
                owner=target.owner,
                if_incarnation=entry.incarnation,
                gauges=entry.gauges,
            )
        return write

    # Sending

    def wait(self, write: Write[Any], timeout: float | None) -> wire.Done:
        """Send it and wait for the reply, in the caller's thread."""
        if write.member is not None:
            return self.submit(write, timeout, whole).result()
        try:
            done, epoch = self._without_registry(write.request), 0
            if done is None:
                done, epoch = self._client.pool.ask_there(write.request, self._seconds(timeout))
            self._note(write.request, done, epoch, by_thread=write.by_thread)
        except AdsumError as error:
            if write.observer is not None:
                write.observer.failed(error)
            if isinstance(error, NotRegistered):
                name_other_location(error, self._client)
            raise
        if write.observer is not None:
            write.observer.succeeded(len(done.entries), changed=done.changed)
        return done

    def register_and_wait(
        self, write: Write[wire.Register], timeout: float | None, convert: Callable[[wire.Done], T]
    ) -> T:
        """`wait` for a registration, and give what `convert` makes of the reply. An interrupt at any moment before this
        returns undoes the registration, because no caller will hold it."""
        since = self._client.reader.revision()
        try:
            return convert(self.wait(write, timeout))
        except AdsumError:
            raise
        except BaseException:
            InterruptedRegistration(write.request, since, self._client.pipeline, self._client.reader).undo()
            raise

    def submit(self, write: Write[Any], timeout: float | None, convert: Callable[[wire.Done], T]) -> Future[T]:
        """Send it without waiting. The future gets what `convert` makes of the reply, in the pipeline's thread."""
        client, own_timeout, request = self._client, self._seconds(timeout), write.request
        call: PendingCall[T]

        def noted(done: wire.Done) -> T:
            self._note(request, done, client.pipeline.epoch, write.member, write.by_thread)
            return convert(done)

        if write.member is None:
            call = PendingCall(request, noted, own_timeout, write.observer)
        else:
            call = MemberCall(request, noted, own_timeout, write.observer, write.member, client.pipeline, client.reader)
        with write:
            if (done := self._without_registry(write.request)) is None:
                client.pipeline.submit(call)
            elif call.claim():
                call.settle(done)
        return call.future

    def stand_by(
        self,
        id: AnyId,
        metadata: Mapping[str, object],
        timeout: float | None,
        convert: Callable[[wire.Done], T],
        *,
        process: AnyProcess | None = None,
        everywhere: NameMode = NameMode.no,
        replace: bool = False,
    ) -> StandByCall[T]:
        """Stand by for an id, or for a name of the whole cluster. Sends the request; `convert` makes the result of the
        grant."""
        client = self._client
        with self._write(instrument.register, "stand_by", id) as write:
            check_flag("replace", replace)
            if everywhere is not NameMode.no:
                require_cluster(client.reader)
            target = resolve(process)
            if target.member is not None:
                raise TypeError("a name for the whole cluster belongs to a process; a thread or task cannot hold it")
            promise, by_thread = promised(metadata, target)
            process_id, fields, owner = self._id(id), parse_metadata(promise), target.owner
            if by_thread:
                heartbeat_thread.prepare()
            request = everywhere.request(process_id, owner, fields, replaces=replace)
            client.hold_lifeline()
            # The standby is bound to the session.
            client.pipeline.hold_entries()

            def noted(done: wire.Done) -> T:
                self._note(request, done, client.pipeline.epoch, by_thread=[by_thread])
                return convert(done)

            call = StandByCall(
                request, noted, self._seconds(timeout), write.observer, client.pipeline, client.reader.local_members
            )
            client.pipeline.submit(call)
        return call

    def leave_heartbeat(self, id: AnyId, incarnation: int | None, timeout: float | None) -> Entry | None:
        """Leave a heartbeat in shared memory, and give the entry. None where `heartbeat` has to send it. Errors:
        `ValueError` for an impossible timeout, although nothing is waited for."""
        if timeout is not None:
            seconds(timeout)
        try:
            process_id = id if isinstance(id, ProcessId) else self._id(id)
            left = self._client.heartbeats.leave(process_id, incarnation)
        except InvalidProcessId:
            # No id, or that of a registry that is not made yet.
            return None
        if left is None:
            return None
        if instrument.heartbeat is not None:
            Observation(instrument.heartbeat, "heartbeat", self._client.folder, process_id, self._namespace).succeeded(
                1
            )
        promise, monotonic, wall = left
        return promise.show(monotonic, wall)

    def send_heartbeat(self, entry: Entry) -> Future[wire.Done] | None:
        """Send a heartbeat that no caller asked for, and no handler is notified of. None where it was left in shared
        memory, and where the promise was taken back: it may be made again."""
        heartbeats = self._client.heartbeats
        if heartbeats.leave(entry.process_id, entry.incarnation) is not None:
            return None
        if heartbeats.is_over(entry.process_id, entry.incarnation):
            return None
        request = wire.Heartbeat(
            process_id=entry.process_id, owner=resolve(None).owner, if_incarnation=entry.incarnation
        )
        call = PendingCall(request, whole, None)
        self._client.pipeline.submit(call)
        return call.future

    def give_back(self, entry: Entry) -> None:
        """Unregister an entry that no caller holds. Waits for nothing."""
        MemberEnd(self._client.pipeline, self._client.reader.local_members, entry).send()

    def _note(
        self,
        request: wire.AnyRequest,
        done: wire.Done,
        epoch: int,
        member: Member = None,
        by_thread: Sequence[bool] = (),
    ) -> None:
        """Let the keeper know of the entries that this process has registered, changed or ended in the registry with
        this epoch, and the thread of those for which it sends heartbeats."""
        if isinstance(request, _MAKING_AN_ENTRY):
            if done.changed:
                self._note_made(done.entries, epoch, member, by_thread)
        elif isinstance(request, wire.Unregister):
            self._note_unregistered(request.process_id, epoch, was_there=done.changed)
        elif isinstance(request, wire.UnregisterMany):
            removed = {entry.process_id for entry in done.entries}
            for process_id, incarnation in request.items:
                if incarnation is None or process_id in removed:
                    self._note_unregistered(process_id, epoch, was_there=process_id in removed)
        else:
            for entry in done.entries:
                self._client.keeper.saw(entry)

    def _note_made(self, entries: Sequence[Entry], epoch: int, member: Member, by_thread: Sequence[bool]) -> None:
        reference = None if member is None else weakref.ref(member)
        for entry in entries:
            self._client.keeper.keep(KeptEntry(entry, epoch, reference, self._reference))
            if entry.row_place:
                # The gauges of the entry are read where this reader has them open.
                self._client.reader.attach()
        for entry in compress(entries, by_thread):
            heartbeat_thread.begin(self, entry)

    def _note_unregistered(self, process_id: ProcessId, epoch: int, *, was_there: bool) -> None:
        dropped = self._client.keeper.drop(process_id)
        if dropped is not None and not was_there and dropped.epoch == epoch:
            # It was registered anew at the same moment.
            self.give_back(dropped.entry)

    def take_over(self, entry: Entry, other: Calls) -> None:
        """Keep an entry from now on that was registered through `other`."""
        kept = other._client.keeper.drop(entry.process_id)
        if kept is not None:
            self._client.keeper.keep(kept._replace(writer=self._reference))

    def register_anew(self, lost: Entry, member: Member) -> Entry:
        """Register an entry whose registry is gone. Errors: as `Registry.register`."""
        if lost.fencing_token:
            done = register_anew(self._client, lost.process_id, lost.owner, fields_of(lost))
            self._note_made(done.entries, self._client.pipeline.epoch, None, ())
            return done.entries[0]
        items = [(lost.process_id, fields_of(lost))]
        request = _registration(lost.owned_by, owner=lost.owner, items=items, bound=member is not None)
        if member is None:
            done, epoch = self._client.pool.ask_there(request, ASK_SECONDS)
        else:
            client = self._client
            client.pipeline.hold_entries()

            def there(done: wire.Done) -> tuple[wire.Done, int]:
                return done, client.pipeline.epoch

            call = MemberCall(request, there, ASK_SECONDS, None, member, client.pipeline, client.reader)
            client.pipeline.submit(call)
            done, epoch = call.future.result()
        self._note(request, done, epoch, member)
        return done.entries[0]

    def wait_for(self, holder: Holder, entry: Entry, write: Write[Q], timeout: float | None) -> wire.Done:
        """`wait` for a write about `entry`, which `holder` has. Where its registry is gone, send the write again when
        the entry is back, about that one."""
        while True:
            try:
                return self.wait(write, timeout)
            except (NotRegistered, Stale):
                if not self.await_return(holder, entry, timeout):
                    raise
            entry = holder.entry
            write = self.again(write, entry)

    def again(self, write: Write[Q], entry: Entry) -> Write[Q]:
        """The same write, about an entry that was registered anew."""
        again: Write[Q] = self._write(write.begin, write.call, entry.process_id)
        with again:
            fields: dict[str, object] = {"if_incarnation": entry.incarnation}
            if isinstance(write.request, wire.HandOver):
                fields["gauges"] = entry.gauges
            again.request = msgspec.structs.replace(write.request, **fields)
        return again

    def await_return(self, holder: Holder, lost: Entry, timeout: float | None) -> bool:
        """Whether `holder` gets another entry in place of a lost one, within `timeout`. Waits for it."""
        return self._client.keeper.await_return(holder, lost, ASK_SECONDS if timeout is None else timeout)

    def may_return(self, entry: Entry) -> bool:
        """Whether the entry is lost, and will be registered anew."""
        return self._client.keeper.may_return(entry)

    def gauges_of(self, entry: Entry) -> Gauges:
        """The gauges of an entry of this process, to be set."""
        holder = EntryHolder(entry)
        self.keep_current(holder)
        return Gauges(self, holder, self._client.gauges)

    def keep_current(self, registration: Holder) -> None:
        """Give this registration the new entry when its own is registered anew in another registry."""
        self._client.keeper.add_holder(registration)

    def _without_registry(self, request: wire.AnyRequest) -> wire.Done | None:
        """The reply to a request that would change an entry, where there is no registry: no registry is made for it.
        None where the registrar has to decide. Errors: `NotRegistered`."""
        if not isinstance(request, _ABOUT_AN_ENTRY):
            return None
        if not self.lacks_registry():
            # It was made at this moment perhaps; the registrar completes an id without a node.
            return None
        if isinstance(request, (wire.Unregister, wire.UnregisterMany, wire.Release)):
            return wire.Done(0, [], changed=False)
        process_id = request.items[0][0] if isinstance(request, wire.UpdateMany) else request.process_id
        if process_id is None:
            # A claim on any member. It waits for the registry before it is sent; this one was removed since.
            return None
        raise NotRegistered(
            f"{process_id.local_id} is not registered: there is no registry in {self._client.folder}; the first "
            "registration makes it"
        )

    def lacks_registry(self) -> bool:
        """Whether there is no registry, and none that a call of this object is making now."""
        reader = self._client.reader
        if self._client.pipeline.has_calls:
            # One of them may be making the registry, and was sent before the request of the caller.
            return False
        reader.attach()
        return reader.node is None

    def _write(self, begin: CallPoint | None, call: str, id: object) -> Write[Any]:
        write: Write[Any] = Write(begin, call, self._client.folder, id, self._namespace)
        write.begin, write.call, write.member, write.by_thread = begin, call, None, ()
        return write

    def _id(self, id: object) -> ProcessId:
        """A checked id. Where the call names no node, and there is no registry yet whose node it could be, the
        registrar completes it: another process may be making the registry at this moment, under another host name."""
        node = self._node
        if node is None and isinstance(id, str):
            self._client.reader.attach()
            node = self._client.reader.node
            if node is None:
                return parse_id(id, self._namespace, identity.host_name())._replace(node=wire.NODE_OF_REGISTRY)
        return parse_id(id, self._namespace, node or "")

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else seconds(timeout)


def _registration(owned_by: OwningMember | None, **fields: Any) -> wire.Register:
    """A request to register, of the kind that an older registrar knows where no member is to own the entries."""
    return wire.Register(**fields) if owned_by is None else wire.RegisterOwned(owned_by, **fields)


def pairs(items: Any) -> list[tuple[AnyId, Any]]:
    """The `items` of `register_many`, as a list. Errors: `TypeError`."""
    listed: list[Any] = (
        list(items) if isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping)) else [items]
    )
    for item in listed:
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise TypeError(
                f"items: {item!r}: give pairs of an id and its metadata, such as ('a', {{'capabilities': ['x']}})"
            )
    return listed


def _check_incarnation(value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**64):
        raise ValueError(f"if_incarnation={value!r}: give an entry's incarnation, or None")


def _check_revision(value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64):
        raise ValueError(f"if_revision={value!r}: give an entry's revision, or None")


def whole(done: wire.Done) -> wire.Done:
    """For `Calls.submit`: the future gets the reply itself."""
    return done


def listed_ids(ids: Any) -> list[tuple[AnyId, int | None]]:
    """The `ids` of `unregister_many`, each for any incarnation. Errors: `TypeError`."""
    if isinstance(ids, (str, bytes, Mapping, ProcessId)) or not isinstance(ids, Iterable):
        raise TypeError(f"ids={ids!r}: give several ids, such as ['a', 'b']")
    return [(id, None) for id in ids]


def removed_of(items: Sequence[tuple[ProcessId, int | None]], done: wire.Done) -> list[bool]:
    """For each item of a request to remove several entries, whether there was one. A second time there was none."""
    # The registrar has completed an id without a node.
    removed = {entry.process_id for entry in done.entries}
    nodeless = {entry.process_id._replace(node=wire.NODE_OF_REGISTRY): entry.process_id for entry in done.entries}
    found = []
    for process_id, _ in items:
        process_id = nodeless.get(process_id, process_id)
        found.append(process_id in removed)
        removed.discard(process_id)
    return found
