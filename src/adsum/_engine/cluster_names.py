"""Names for the whole cluster: requests that the bridge decides, with the word of etcd.

A request for such a name is a standby that no death in this registry grants. The bridge reads it in the tables, asks
etcd, and answers with the token of the name, or with the reason of a refusal.
"""

from __future__ import annotations

from .. import _wire as wire
from .._store.layout import Record, Standby
from .._validation import id_key
from ..errors import AdsumError, AlreadyRegistered, ClusterUnavailable
from ..model import EPOCH, Entry, Kind, Metadata, Origin, Owner, ProcessId
from .admission import NewEntry
from .batch import Call
from .round import Round


def carry_out(
    round: Round, request: wire.StandByEverywhere | wire.NameAnswer | wire.Retoken, call: Call
) -> wire.AnyReply:
    match request:
        case wire.StandByEverywhere():
            return stand_by(round, request, call)
        case wire.NameAnswer():
            return wire.Done(call.number, [], changed=settle(round, request))
        case wire.Retoken():
            return wire.Done(call.number, [], changed=retoken(round, request))


def stand_by(round: Round, request: wire.StandByEverywhere, call: Call) -> wire.AnyReply:
    new = round.admission.prepare(request.process_id, request.fields)
    round.require_alive(request.owner)
    holder = round.lasting_holder(new.key)
    if holder is not None and not _may_replace(holder, request):
        if not request.waits:
            raise _held_here(holder.entry, request.owner)
        round.succession.refuse_oneself(holder, request.owner)
    elif holder is not None and holder.entry.fencing_token:
        return _anew(round, holder, new, request, call)
    elif holder is None and not request.waits:
        _require_unreserved(round, new.key, request.owner)
    queued = wire.StandByEverywhere(
        process_id=new.process_id,
        owner=request.owner,
        fields=request.fields,
        waits=request.waits,
        position=request.position,
        replaces=request.replaces,
    )
    return round.succession.queue(queued, call)


def _require_unreserved(round: Round, key: bytes, owner: Owner) -> None:
    if (reservation := round.reservation_of(key, owner)) is not None:
        raise reservation.refusal()


def _may_replace(holder: Record, asks: wire.StandByEverywhere | Standby) -> bool:
    """Whether the holder of an id is the process itself, which wants to be registered anew."""
    return asks.replaces and holder.entry.origin is None and holder.entry.owner == asks.owner


def _anew(round: Round, holder: Record, new: NewEntry, request: wire.StandByEverywhere, call: Call) -> wire.Done:
    """The process that has the name is registered anew. It keeps the token: the holder is the same. No standby gets the
    id."""
    round.admission.check_update(holder.entry, new.metadata, may_grow=False)
    round.admission.require_room([], [(holder.entry, new)])
    round.draft.remove(holder, Kind.unregistered, "unregistered")
    token = holder.entry.fencing_token
    entry = round.draft.add(new.key, new.process_id, request.owner, new.metadata, b"", token=token)
    return wire.Done(call.number, [entry])


def settle(round: Round, request: wire.NameAnswer) -> bool:
    """Whether the standby has the name now, or has its refusal."""
    standby = round.succession.find(request.session, request.stand_by)
    if standby is None:
        return False
    if not request.token:
        round.succession.refuse_name(standby, _refusal(round, request, standby))
        return True
    holder = round.live_holder(id_key(standby.process_id))
    if holder is not None and (holder.entry.fencing_token or not _may_replace(holder, standby)):
        # Registered here meanwhile, and not everywhere.
        round.succession.refuse_name(standby, _held_here(holder.entry, standby.owner))
        return False
    if holder is None and (reservation := round.reservation_of(id_key(standby.process_id), standby.owner)) is not None:
        round.succession.refuse_name(standby, reservation.refusal())
        return False
    if holder is not None:
        round.draft.remove(holder, Kind.unregistered, "unregistered")
    return round.succession.grant_name(standby, request.token)


def retoken(round: Round, request: wire.Retoken) -> bool:
    record = round.live_holder(id_key(request.process_id))
    if record is None or record.entry.incarnation != request.incarnation or record.entry.origin is not None:
        return False
    if request.token:
        round.draft.put_token(record, request.token)
    else:
        round.draft.remove(record, Kind.unregistered, "name_lost")
        round.succession.grant_freed([record])
    return True


def _refusal(round: Round, request: wire.NameAnswer, standby: Standby) -> AdsumError:
    if request.holder is None:
        return ClusterUnavailable(request.message or "the cluster cannot be asked now; see adsum doctor")
    record = round.draft.record(id_key(request.holder))
    entry = _outline(request.holder, request.host) if record is None else record.entry
    return _held(entry, request.host)


def _held_here(entry: Entry, owner: Owner) -> AlreadyRegistered:
    """The id is held in this registry."""
    name, own = entry.process_id.local_id, entry.owner == owner
    if own:
        kind = "in the whole cluster" if entry.fencing_token else "on this host alone"
        return AlreadyRegistered(
            f"{entry.process_id} is held by this very process ({entry.pid}, incarnation {entry.incarnation}), which "
            f"registered it {kind} before; register(..., everywhere=True, replace=True) registers it anew",
            entry=entry,
        )
    if entry.fencing_token or entry.origin is not None:
        return _held(entry)
    return AlreadyRegistered(
        f"{entry.process_id} is held on this host by process {entry.pid} (incarnation {entry.incarnation}), which "
        f"registered it without everywhere=True; use another name than {name!r}, or wait until it ends",
        entry=entry,
    )


def _held(entry: Entry, host: str = "") -> AlreadyRegistered:
    where = f" on the host {host}" if host else f" by process {entry.pid}"
    return AlreadyRegistered(
        f"{entry.process_id} holds the name {entry.process_id.local_id!r} in the whole cluster{where}; use another "
        "name, or stand_by(..., everywhere=True) to get it when it is free",
        entry=entry,
    )


def _outline(process_id: ProcessId, host: str) -> Entry:
    """What is known of a holder whose entry has not arrived here yet."""
    return Entry(process_id, 0, 0, 0, 0, EPOCH, EPOCH, 0, Metadata(), origin=Origin(host, 0, 0, 0))
