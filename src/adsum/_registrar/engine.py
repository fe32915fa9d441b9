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

import msgspec

from .. import _wire as wire
from .._store.layout import encode
from .._validation import MetadataFields, check_fields, check_limits, id_key, merge
from ..errors import (
    AdsumError,
    AlreadyRegistered,
    InvalidProcessId,
    PermissionDenied,
    Timeout,
)
from ..model import HealthSource, HealthStatus, Kind, Limits, Owner
from .batch import Batch, Call, Clock, Decision, Kernel
from .draft import View, forgiven
from .heartbeats import Lateness
from .standing import Standing
from .succession import queue, refuse_oneself

# Fields that a full registry still takes: they hardly grow, and members must go on telling how they are.
_HEALTH_FIELDS = frozenset({"health_status", "last_health_check"})

_SEVERITY = (HealthStatus.healthy, HealthStatus.degraded, HealthStatus.unhealthy)


class Engine:
    """Decides for one registry, under its limits."""

    def __init__(self, limits: Limits, kernel: Kernel) -> None:
        self.limits = limits
        self.kernel = kernel

    def decide(self, view: View, batch: Batch, clock: Clock) -> Decision:
        return _Round(self.limits, self.kernel, view, clock).run(batch)


class _Round(Standing):
    """One batch being decided."""

    def run(self, batch: Batch) -> Decision:
        # First who has stopped waiting, so that no death in the same batch makes it somebody's successor.
        for _, session in batch.ended:
            for waiting in self.draft.standing_by_in(session):
                self.draft.withdraw(waiting)
        for death in batch.deaths:
            self.bury(death.owner, "died", (self.clock.monotonic - death.noticed) / 1e9)
        for owner, session in batch.ended:
            self.end_session(owner, session)
        replies = [self.answer(call) for call in batch.calls]
        draft = self.draft
        for late in batch.late:
            if late.incarnation not in draft.signs:
                self.note_late(late)
        released = {owner for owner in self.touched if draft.owns_nothing(owner)}
        return Decision(
            draft.changes,
            draft.departures,
            replies,
            released,
            list(draft.touched.values()),
            draft.signs,
            draft.joined,
            draft.withdrawn,
            self.grants,
        )

    # What happens without being asked for

    def end_session(self, owner: Owner, session: bytes) -> None:
        """Remove what lived inside a session that is over; its process may well live on."""
        self.touched.add(owner)
        owned = [record for record in self.draft.owned(owner) if record.session == session]
        for record in owned:
            self.draft.remove(record, Kind.unregistered, "unregistered")
        self.succeed(owned)

    def note_late(self, late: Lateness) -> None:
        """A sign of life is missing: the status becomes no better than that. Dead, the process would be gone."""
        record = self.draft.record(late.key)
        if record is None or record.entry.incarnation != late.incarnation:
            return
        if not self.kernel.is_alive(record.entry.owner):
            return
        metadata = record.entry.metadata
        before = record.before_late or (metadata.health_status, record.entry.health_source)
        status = max(late.status, before[0], key=_SEVERITY.index)
        metadata = msgspec.structs.replace(metadata, health_status=status)
        self.draft.replace(record, metadata, HealthSource.registrar, before)

    # Requests

    def answer(self, call: Call) -> wire.AnyReply:
        try:
            if call.deadline < self.clock.monotonic:
                raise Timeout(
                    "the deadline passed before the registrar came to the request; nothing was changed. Try again, or "
                    "give a longer timeout="
                )
            return self.carry_out(call)
        except AdsumError as error:
            return wire.failure(call.number, error)

    def carry_out(self, call: Call) -> wire.AnyReply:
        match call.request:
            case wire.Register() as request:
                return self.register(request, call)
            case wire.Update() as request:
                return self.update(request, call)
            case wire.Unregister() as request:
                return self.unregister(request, call)
            case wire.HandOver() as request:
                return self.hand_over(request, call)
            case wire.Heartbeat() as request:
                return self.heartbeat(request, call)
            case wire.StandBy() as request:
                return self.stand_by(request, call)
            case wire.Cancel() as request:
                return self.cancel(request, call)
            case wire.Listen():
                return wire.Done(call.number, [], changed=False)

    def register(self, request: wire.Register, call: Call) -> wire.AnyReply:
        bound_to = call.session if request.bound else b""
        prepared = [self.prepare(process_id, fields) for process_id, fields in request.items]
        if len(prepared) > 1 and len({wanted.key for wanted in prepared}) < len(prepared):
            raise InvalidProcessId("one call names the same id twice; give each id once")
        self.require_alive(request.owner)
        for wanted in prepared:
            holder = self.living(wanted.key)
            if holder is not None and request.or_get:
                return wire.Done(call.number, [holder.entry], changed=False)
            if holder is not None:
                raise AlreadyRegistered(
                    f"{wanted.process_id} is held by process {holder.entry.pid} (incarnation "
                    f"{holder.entry.incarnation}); use another id, wait until it ends, or get_or_register() to work "
                    "with the holder",
                    entry=holder.entry,
                )
        self.require_room(prepared)
        added = [
            self.draft.add(wanted.key, wanted.process_id, request.owner, wanted.metadata, bound_to)
            for wanted in prepared
        ]
        return wire.Done(call.number, [record.entry for record in added])

    def update(self, request: wire.Update, call: Call) -> wire.AnyReply:
        record = self.held(request.process_id, request.if_incarnation)
        check_fields(request.fields)
        fields, basis = request.fields, record
        if request.checked:
            # Never before an earlier check, whatever the wall clock does.
            checked = max(self.clock.utc, record.entry.metadata.last_health_check)
            status = fields.health_status
            fields = MetadataFields(health_status=status, last_health_check=checked)
            metadata = merge(record.entry.metadata, fields, checked)
        else:
            if "heartbeat" in fields.given() and fields.heartbeat is None:
                # Who promises no sign any more is not late with one.
                basis = forgiven(record)
            metadata = merge(basis.entry.metadata, fields, self.clock.utc)
        check_limits(metadata, record.entry.process_id.namespace, len(encode(metadata)), self.limits)
        if not _HEALTH_FIELDS.issuperset(fields.given()):
            self.require_room_to_grow(record.entry, metadata)
        if "health_status" not in fields.given():
            after = self.draft.replace(record, metadata, basis.entry.health_source, basis.before_late)
            return wire.Done(call.number, [after.entry])
        source = HealthSource.process if call.caller in (None, record.entry.owner) else HealthSource.other
        # Whoever says how it is, it is given its time again.
        self.draft.signs.append(record.entry.incarnation)
        return wire.Done(call.number, [self.draft.replace(record, metadata, source, None).entry])

    def heartbeat(self, request: wire.Heartbeat, call: Call) -> wire.AnyReply:
        """A sign of life. It takes back what the registrar said for want of one, and nobody else's verdict."""
        record = self.held(request.process_id, request.if_incarnation)
        if request.owner != record.entry.owner:
            raise PermissionDenied(
                f"{record.entry.process_id} belongs to process {record.entry.pid}; only that process can give its sign "
                "of life"
            )
        self.draft.signs.append(record.entry.incarnation)
        checked = max(self.clock.utc, record.entry.metadata.last_health_check)
        basis = forgiven(record).entry
        metadata = msgspec.structs.replace(basis.metadata, last_health_check=checked)
        if record.before_late is None:
            return wire.Done(call.number, [self.draft.touch(record, metadata).entry], changed=False)
        again = self.draft.replace(record, metadata, basis.health_source, None)
        return wire.Done(call.number, [again.entry])

    def stand_by(self, request: wire.StandBy, call: Call) -> wire.AnyReply:
        wanted = self.prepare(request.process_id, request.fields)
        holder = self.living(wanted.key)
        if holder is not None:
            refuse_oneself(holder, request.owner)
            return queue(self.draft, request, call, self.clock.monotonic)
        self.require_alive(request.owner)
        self.require_room([wanted])
        added = self.draft.add(wanted.key, wanted.process_id, request.owner, wanted.metadata, b"")
        return wire.Done(call.number, [added.entry])

    def cancel(self, request: wire.Cancel, call: Call) -> wire.AnyReply:
        mine = [one for one in self.draft.standing_by_in(call.session) if one.number == request.stand_by]
        for one in mine:
            self.draft.withdraw(one)
        return wire.Done(call.number, [], changed=bool(mine))

    def unregister(self, request: wire.Unregister, call: Call) -> wire.AnyReply:
        record = self.living(id_key(request.process_id))
        if record is None:
            return wire.Done(call.number, [], changed=False)
        self.require_incarnation(record.entry, request.if_incarnation)
        self.touched.add(record.entry.owner)
        self.draft.remove(record, Kind.unregistered, "unregistered")
        self.succeed([record])
        return wire.Done(call.number, [])

    def hand_over(self, request: wire.HandOver, call: Call) -> wire.AnyReply:
        record = self.held(request.process_id, request.if_incarnation)
        self.require_alive(request.owner)
        self.touched.add(record.entry.owner)
        handed_over = self.draft.transfer(record, request.owner)
        self.appoint(handed_over)
        return wire.Done(call.number, [handed_over.entry])
