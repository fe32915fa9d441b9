"""The decisions: a batch of deaths and requests in, changes and replies out.

The engine does no I/O and has no clock: what stands comes from a `View`, who lives from a `Kernel`, what time it is
from the caller. So a test can drive it through a hundred thousand deaths and crashes in a second, and replay any
failure from its seed.

The order inside a batch is part of the promises. Deaths come first, so that no request of the batch meets an entry
whose owner is known to be dead. Then sessions that ended, then requests in the order of their arrival, and last the
signs of life that are missing, for one may just have come. Each request is checked whole before its first change, so
one that is refused leaves nothing behind and never spoils its batch.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .. import _wire as wire
from .._store.layout import Record, encode
from .._validation import MetadataFields, check_fields, check_limits, id_key, merge, new_metadata
from ..errors import (
    AdsumError,
    AlreadyRegistered,
    DeadProcess,
    InvalidProcessId,
    NotRegistered,
    PermissionDenied,
    RegistryFull,
    Stale,
    Timeout,
)
from ..model import HealthSource, HealthStatus, Kind, Limits, Metadata, Owner, ProcessId
from .batch import Batch, Call, Clock, Decision, Kernel
from .draft import Draft, View, footprint
from .heartbeats import Late
from .succession import Grant, queue, refuse_oneself

# Bytes kept free below the memory limit: one group commit never allocates more than it was estimated to by this much.
HEADROOM = 128 * 1024

# Fields that a full registry still takes: they hardly grow, and members must go on telling how they are.
_HEALTH_FIELDS = frozenset({"health_status", "last_health_check"})

_SEVERITY = (HealthStatus.healthy, HealthStatus.degraded, HealthStatus.unhealthy)


class Engine:
    """Decides for one registry, under its limits."""

    def __init__(self, limits: Limits, kernel: Kernel) -> None:
        self.limits = limits
        self.kernel = kernel

    def decide(self, view: View, batch: Batch, clock: Clock) -> Decision:
        return _Round(self, view, clock).run(batch)


class _Wanted(NamedTuple):
    """A registration that is ready to be added."""

    key: bytes
    process_id: ProcessId
    metadata: Metadata
    footprint: int


class _Round:
    """One batch being decided."""

    def __init__(self, engine: Engine, view: View, clock: Clock) -> None:
        self.limits = engine.limits
        self.kernel = engine.kernel
        self.clock = clock
        self.draft = Draft(view, clock.utc)
        self.touched: set[Owner] = set()
        self.grants: list[Grant] = []

    def run(self, batch: Batch) -> Decision:
        for death in batch.deaths:
            self.bury(death.owner, "died", (self.clock.monotonic - death.noticed) / 1e9)
        for owner, session in batch.ended:
            self.end_session(owner, session)
        replies = [self.answer(call) for call in batch.calls]
        for late in batch.late:
            self.note_late(late)
        draft = self.draft
        released = {owner for owner in self.touched if draft.owns_nothing(owner)}
        return Decision(
            draft.changes,
            draft.departures,
            replies,
            released,
            list(draft.touched.values()),
            draft.joined,
            draft.withdrawn,
            self.grants,
        )

    # What happens without being asked for

    def bury(self, owner: Owner, how: str, detection: float = 0.0) -> None:
        """Remove everything a dead process owned: consecutive revisions, one commit, all or none."""
        self.touched.add(owner)
        owned = self.draft.owned(owner)
        for record in owned:
            self.draft.remove(record, Kind.died, how, detection)
        self.succeed(owned)

    def end_session(self, owner: Owner, session: bytes) -> None:
        """Remove what lived inside a session that is over; its process may well live on."""
        self.touched.add(owner)
        for waiting in self.draft.standing_by_in(session):
            self.draft.withdraw(waiting)
        owned = [record for record in self.draft.owned(owner) if record.session == session]
        for record in owned:
            self.draft.remove(record, Kind.unregistered, "unregistered")
        self.succeed(owned)

    def succeed(self, freed: list[Record]) -> None:
        """Ids that became free go to the first of those who stand by for them and live."""
        for record in freed:
            for waiting in self.draft.standing_by(key := id_key(record.process_id)):
                self.draft.withdraw(waiting)
                self.touched.add(waiting.owner)
                # The dead are skipped; nobody is there to be told.
                if not self.kernel.watch(waiting.owner):
                    continue
                try:
                    wanted = self.prepare(waiting.process_id, waiting.fields)
                    self.require_room([wanted])
                except AdsumError as error:
                    self.grants.append(Grant(waiting, wire.failure(waiting.number, error)))
                    continue
                added = self.draft.add(key, waiting.process_id, waiting.owner, wanted.metadata, b"")
                self.grants.append(Grant(waiting, wire.Done(waiting.number, [added])))
                break

    def note_late(self, late: Late) -> None:
        """A sign of life is missing: the status becomes no better than that. Dead, the process would be gone."""
        record = self.draft.record(late.key)
        if record is None or record.incarnation != late.incarnation or not self.kernel.is_alive(record.owner):
            return
        said = record.before_late or (record.metadata.health_status, record.health_source)
        status = max(late.status, said[0], key=_SEVERITY.index)
        metadata = msgspec.structs.replace(record.metadata, health_status=status)
        self.draft.replace(record, metadata, health_source=HealthSource.registrar, before_late=said)

    # Requests

    def answer(self, call: Call) -> wire.AnyReply:
        request = call.request
        try:
            if request.deadline < self.clock.monotonic:
                raise Timeout(
                    "the deadline passed before the registrar came to the request; nothing was changed. Try again, or "
                    "give a longer timeout="
                )
            return self.carry_out(call)
        except AdsumError as error:
            return wire.failure(request.number, error)

    def carry_out(self, call: Call) -> wire.AnyReply:
        match call.request:
            case wire.Register() as request:
                return self.register(request, call.session)
            case wire.Update() as request:
                return self.update(request, call.caller)
            case wire.Unregister() as request:
                return self.unregister(request)
            case wire.HandOver() as request:
                return self.hand_over(request)
            case wire.Heartbeat() as request:
                return self.heartbeat(request)
            case wire.StandBy() as request:
                return self.stand_by(request, call.session)
            case wire.Cancel() as request:
                return self.cancel(request, call.session)
            case wire.Listen() as request:
                return wire.Done(request.number, [], changed=False)

    def register(self, request: wire.Register, session: bytes) -> wire.AnyReply:
        bound_to = session if request.bound else b""
        prepared = [self.prepare(process_id, fields) for process_id, fields in request.items]
        if len(prepared) > 1 and len({wanted.key for wanted in prepared}) < len(prepared):
            raise InvalidProcessId("one call names the same id twice; give each id once")
        self.require_alive(request.owner)
        for wanted in prepared:
            holder = self.living(wanted.key)
            if holder is not None and request.or_get:
                return wire.Done(request.number, [holder], changed=False)
            if holder is not None:
                raise AlreadyRegistered(
                    f"{wanted.process_id} is held by process {holder.pid} (incarnation {holder.incarnation}); use "
                    "another id, wait until it ends, or get_or_register() to work with the holder",
                    entry=holder,
                )
        self.require_room(prepared)
        added = [
            self.draft.add(wanted.key, wanted.process_id, request.owner, wanted.metadata, bound_to)
            for wanted in prepared
        ]
        return wire.Done(request.number, list(added))

    def update(self, request: wire.Update, caller: Owner | None) -> wire.AnyReply:
        record = self.held(request.process_id, request.if_incarnation)
        check_fields(request.fields)
        fields = request.fields
        if request.checked:
            # Never before an earlier check, whatever the wall clock does.
            checked = max(self.clock.utc, record.metadata.last_health_check)
            status = fields.health_status
            fields = MetadataFields(health_status=status, last_health_check=checked)
            metadata = merge(record.metadata, fields, checked)
        else:
            metadata = merge(record.metadata, fields, self.clock.utc)
        check_limits(metadata, record.process_id.namespace, len(encode(metadata)), self.limits)
        if not _HEALTH_FIELDS.issuperset(fields.given()):
            self.require_room_to_grow(record, metadata)
        if "health_status" not in fields.given():
            return wire.Done(request.number, [self.draft.replace(record, metadata)])
        source = HealthSource.process if caller in (None, record.owner) else HealthSource.other
        return wire.Done(request.number, [self.draft.replace(record, metadata, health_source=source, before_late=None)])

    def heartbeat(self, request: wire.Heartbeat) -> wire.AnyReply:
        """A sign of life. It takes back what the registrar said for want of one, and nobody else's verdict."""
        record = self.held(request.process_id, request.if_incarnation)
        if request.owner != record.owner:
            raise PermissionDenied(
                f"{record.process_id} belongs to process {record.pid}; only that process can give its sign of life"
            )
        checked = max(self.clock.utc, record.metadata.last_health_check)
        if record.before_late is None:
            metadata = msgspec.structs.replace(record.metadata, last_health_check=checked)
            return wire.Done(request.number, [self.draft.touch(record, metadata)], changed=False)
        status, source = record.before_late
        metadata = msgspec.structs.replace(record.metadata, health_status=status, last_health_check=checked)
        again = self.draft.replace(record, metadata, health_source=source, before_late=None)
        return wire.Done(request.number, [again])

    def stand_by(self, request: wire.StandBy, session: bytes) -> wire.AnyReply:
        wanted = self.prepare(request.process_id, request.fields)
        holder = self.living(wanted.key)
        if holder is not None:
            refuse_oneself(holder, request.owner)
            return queue(self.draft, request, session, self.clock.monotonic)
        self.require_alive(request.owner)
        self.require_room([wanted])
        added = self.draft.add(wanted.key, wanted.process_id, request.owner, wanted.metadata, b"")
        return wire.Done(request.number, [added])

    def cancel(self, request: wire.Cancel, session: bytes) -> wire.AnyReply:
        mine = [one for one in self.draft.standing_by_in(session) if one.number == request.stand_by]
        for one in mine:
            self.draft.withdraw(one)
        return wire.Done(request.number, [], changed=bool(mine))

    def unregister(self, request: wire.Unregister) -> wire.AnyReply:
        record = self.living(id_key(request.process_id))
        if record is None:
            return wire.Done(request.number, [], changed=False)
        self.require_incarnation(record, request.if_incarnation)
        self.touched.add(record.owner)
        self.draft.remove(record, Kind.unregistered, "unregistered")
        self.succeed([record])
        return wire.Done(request.number, [])

    def hand_over(self, request: wire.HandOver) -> wire.AnyReply:
        record = self.held(request.process_id, request.if_incarnation)
        self.require_alive(request.owner)
        self.touched.add(record.owner)
        return wire.Done(request.number, [self.draft.transfer(record, request.owner)])

    # What a request needs

    def prepare(self, process_id: ProcessId, fields: MetadataFields) -> _Wanted:
        """A new entry, complete and checked, but for whether its id is free and there is room."""
        key = id_key(process_id)
        check_fields(fields)
        metadata = new_metadata(fields, self.clock.utc)
        size = len(encode(metadata))
        check_limits(metadata, process_id.namespace, size, self.limits)
        return _Wanted(key, process_id, metadata, footprint(key, metadata, size))

    def living(self, key: bytes) -> Record | None:
        """Who holds an id. A holder that the kernel says is dead is buried on the spot, with all it owned."""
        record = self.draft.record(key)
        if record is not None and not self.kernel.is_alive(record.owner):
            self.bury(record.owner, "replaced")
            # Whoever stood by for it holds it now.
            return self.draft.record(key)
        return record

    def held(self, process_id: ProcessId, if_incarnation: int | None) -> Record:
        record = self.living(id_key(process_id))
        if record is None:
            raise NotRegistered(f"{process_id} is not registered (or its process has died); register it first")
        self.require_incarnation(record, if_incarnation)
        return record

    def require_incarnation(self, record: Record, wanted: int | None) -> None:
        if wanted is not None and wanted != record.incarnation:
            raise Stale(
                f"{record.process_id} is incarnation {record.incarnation} now, held by process {record.pid}, not "
                f"{wanted}: somebody else has registered it since; look it up again before you change it",
                entry=record,
            )

    def require_alive(self, owner: Owner) -> None:
        self.touched.add(owner)
        if not self.kernel.watch(owner):
            raise DeadProcess(
                f"process {owner.pid} has exited, or its number belongs to another process by now; only a living "
                "process can be registered"
            )

    def require_room(self, prepared: list[_Wanted]) -> None:
        most = self.limits.max_entries
        if most is not None and self.draft.entries + len(prepared) > most:
            raise RegistryFull(
                f"the registry holds {self.draft.entries} entries, its max_entries is {most}; unregister some, or make "
                "the registry with a larger Limits.max_entries"
            )
        self.require_memory(sum(wanted.footprint for wanted in prepared))

    def require_room_to_grow(self, record: Record, metadata: Metadata) -> None:
        grown = len(encode(metadata)) - len(encode(record.metadata))
        if grown > 0:
            self.require_memory(grown)

    def require_memory(self, needed: int) -> None:
        """Room for `needed` bytes more, on top of what earlier requests of this batch took."""
        most = self.limits.max_memory_bytes
        bound = most - min(HEADROOM, most // 8) - needed
        if self.draft.bytes_used > bound and self.draft.measure() > bound:
            raise RegistryFull(
                f"the registry uses {self.draft.bytes_used} of {most} bytes; unregister some entries, store less "
                "metadata, or make the registry with a larger Limits.max_memory_bytes"
            )
        self.draft.stage(needed)
