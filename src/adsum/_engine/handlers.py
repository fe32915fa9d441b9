"""The handlers of requests about one call's entries. A request is checked whole before its first change, so one that is
refused leaves nothing behind and does not spoil its batch.
"""

from __future__ import annotations

import msgspec

from .. import _wire as wire
from .._amendment import Amendment, amended
from .._gauges import check_gauges
from .._validation import check_fields, id_key
from ..errors import AlreadyRegistered, DeadProcess, InvalidProcessId, PermissionDenied, SystemBusy
from ..model import Entry, Kind, OwningMember
from . import updating
from .batch import Call
from .draft import without_lateness
from .health import health_source
from .round import Round

# The `Departure.detection` of a death that a request reports before the kernel does. It is no 0, which means that no
# registrar ran.
_AT_ONCE = 1e-6


def register(round: Round, request: wire.Register, call: Call) -> wire.Done:
    prepare, owned_by = round.admission.prepare, _owning_member(round, request)
    prepared = [prepare(process_id, fields, owned_by) for process_id, fields in request.items]
    if len(prepared) > 1 and len({new.key for new in prepared}) < len(prepared):
        raise InvalidProcessId("one call names the same id twice; give each id once")
    round.require_alive(request.owner)
    added, replaced = [], []
    for new in prepared:
        holder = round.lasting_holder(new.key)
        if holder is None:
            if round.reserves:
                _require_unreserved(round, new.key, request, call)
            added.append(new)
        elif request.or_get:
            return wire.Done(call.number, [holder.entry], changed=False)
        elif request.replace and holder.entry.owner == request.owner:
            _require_no_name(holder.entry)
            replaced.append((holder, new))
        else:
            raise _held(holder.entry, call)
    for holder, new in replaced:
        round.admission.check_update(holder.entry, new.metadata, may_grow=False)
    round.admission.require_room(added, [(holder.entry, new) for holder, new in replaced])
    for holder, _ in replaced:
        # No standby gets the id: it is not free at any revision that a reader sees.
        round.draft.remove(holder, Kind.unregistered, "unregistered")
    add, owner, session = round.draft.add, request.owner, call.session if request.bound else b""
    entries = [
        add(new.key, new.process_id, owner, new.metadata, session, health_source(fields, call, owner), owned_by)
        for new, (_, fields) in zip(prepared, request.items, strict=True)
    ]
    return wire.Done(call.number, entries)


def _require_unreserved(round: Round, key: bytes, request: wire.Register, call: Call) -> None:
    """Require that a free id is not reserved for another process. The owner's own process may give it away."""
    reservation = round.reservation_of(key, request.owner, call.caller)
    if reservation is None:
        return
    if request.or_get:
        raise SystemBusy(
            f"{reservation.process_id} is held by process {reservation.owner.pid}, which registers itself anew in this "
            "moment; nothing was changed, try again"
        )
    raise reservation.refusal()


def _require_no_name(holder: Entry) -> None:
    """Require that an entry which is replaced does not lose its name in the whole cluster."""
    if holder.fencing_token:
        raise AlreadyRegistered(
            f"{holder.process_id} is held in the whole cluster by this very process ({holder.pid}, incarnation "
            f"{holder.incarnation}); register(..., everywhere=True, replace=True) registers it anew, and to hold it on "
            "this host alone, unregister() it first",
            entry=holder,
        )


def _owning_member(round: Round, request: wire.Register) -> OwningMember | None:
    """The member that is to own the new entries; None for none. Errors: `DeadProcess`."""
    if not isinstance(request, wire.RegisterOwned):
        return None
    owned_by = request.owned_by
    # It comes from a client.
    id_key(owned_by.process_id)
    if owned_by.pid < 1:
        raise InvalidProcessId(f"{owned_by.process_id} has no process on this host; only a member of this host can own")
    if not round.is_alive(owned_by.owner):
        raise DeadProcess(
            f"process {owned_by.pid} of {owned_by.process_id}, which was to own the entry, has exited; nothing was "
            "registered"
        )
    round.adds_dependants = True
    return owned_by


def _held(holder: Entry, call: Call) -> AlreadyRegistered:
    if holder.owner == call.caller:
        message = (
            f"{holder.process_id} is held by this very process ({holder.pid}, incarnation {holder.incarnation}), which "
            "registered it before, perhaps before an exec; get_or_register() gives you that entry, replace=True "
            "registers it anew, update() changes it"
        )
    else:
        message = (
            f"{holder.process_id} is held by process {holder.pid} (incarnation {holder.incarnation}); use another id, "
            "wait until it ends, or get_or_register() to work with the holder"
        )
    return AlreadyRegistered(message, entry=holder)


def update(round: Round, request: wire.Update, call: Call) -> wire.Done:
    record = round.require_holder(request.process_id, request.if_incarnation)
    check_fields(request.fields)
    prepared = updating.prepare(round, record, request.fields, call, checked=request.checked)
    return wire.Done(call.number, updating.apply(round, [prepared]))


def amend(round: Round, request: wire.Amend, call: Call) -> wire.Done:
    record = round.require_holder(request.process_id, request.if_incarnation)
    round.require_revision(record.entry, request.if_revision)
    fields = amended(record.entry.metadata, Amendment(request.fields, request.merged, request.added))
    return wire.Done(call.number, updating.apply(round, [updating.prepare(round, record, fields, call)]))


def heartbeat(round: Round, request: wire.Heartbeat, call: Call) -> wire.Done:
    """A heartbeat takes back the status that the registrar noted because none came, and no status that was reported."""
    record = round.require_holder(request.process_id, request.if_incarnation)
    entry = record.entry
    if request.owner != entry.owner:
        raise PermissionDenied(
            f"{entry.process_id} belongs to process {entry.pid}; only that process can send its heartbeat"
        )
    round.heartbeats.append(entry.incarnation)
    checked = max(round.now.utc, entry.metadata.last_health_check)
    basis = without_lateness(record).entry
    metadata = msgspec.structs.replace(basis.metadata, last_health_check=checked)
    if record.before_late is None:
        return wire.Done(call.number, [round.draft.refresh(record, metadata)], changed=False)
    return wire.Done(call.number, [round.draft.replace(record, metadata, basis.health_source, None)])


def unregister(round: Round, request: wire.Unregister, call: Call) -> wire.Done:
    record = round.live_holder(id_key(request.process_id))
    if record is None:
        round.unreserve(id_key(request.process_id))
        return wire.Done(call.number, [], changed=False)
    round.require_own(record.entry)
    round.require_incarnation(record.entry, request.if_incarnation)
    round.draft.remove(record, Kind.unregistered, "unregistered")
    round.succession.grant_freed([record])
    return wire.Done(call.number, [])


def hand_over(round: Round, request: wire.HandOver, call: Call) -> wire.Done:
    record = round.require_holder(request.process_id, request.if_incarnation)
    round.require_alive(request.owner)
    known = record.entry.metadata.gauges
    gauges = {name: value for name, value in request.gauges.items() if name in known}
    check_gauges(gauges)
    entry = round.draft.transfer(record, request.owner, gauges)
    if round.has_dependants:
        _follow_owning_member(round, record.entry, entry)
    round.succession.grant_handed_over(entry)
    return wire.Done(call.number, [entry])


def _follow_owning_member(round: Round, before: Entry, after: Entry) -> None:
    """What an entry owns goes on with it to its new process."""
    owned_by = OwningMember(after.process_id, after.incarnation, *after.owner)
    for record in round.dependants_of(before.owner):
        if record.entry.owned_by is not None and record.entry.owned_by.process_id == before.process_id:
            round.draft.put_owning_member(record, owned_by)


def note_exit(round: Round, request: wire.ExitOf) -> bool:
    """Note how a process ended, where no exit is noted yet. Nothing is while the kernel says that it is alive."""
    owner = request.owner
    if round.is_alive(owner):
        return False
    if not round.draft.owns_nothing(owner):
        # The kernel's report is behind this request in the queue of deaths.
        round.remove_dead(owner, "died", _AT_ONCE)
    return round.draft.note_exit(owner, request.code)
