"""Names for the whole cluster: requests that the bridge decides, with the word of etcd.

A request for such a name is a standby that no death in this registry grants. The bridge reads it in the tables, asks
etcd, and answers with the token of the name, or with the reason of a refusal.
"""

from __future__ import annotations

from .. import _wire as wire
from .._store.layout import Standby
from .._validation import id_key
from ..errors import AdsumError, AlreadyRegistered, ClusterUnavailable
from ..model import EPOCH, Entry, Kind, Metadata, Origin, ProcessId
from .batch import Call
from .round import Round


def carry_out(
    round: Round, request: wire.StandByEverywhere | wire.NameAnswer | wire.Retoken, call: Call
) -> wire.AnyReply:
    match request:
        case wire.StandByEverywhere():
            return stand_by(round, request, call)
        case wire.NameAnswer():
            return wire.Done(call.number, [], changed=answer(round, request))
        case wire.Retoken():
            return wire.Done(call.number, [], changed=retoken(round, request))


def stand_by(round: Round, request: wire.StandByEverywhere, call: Call) -> wire.AnyReply:
    new = round.admission.prepare(request.process_id, request.fields)
    round.require_alive(request.owner)
    holder = round.lasting_holder(new.key)
    if holder is not None:
        if not request.waits:
            raise _held(holder.entry)
        round.succession.refuse_oneself(holder, request.owner)
    queued = wire.StandByEverywhere(
        process_id=new.process_id,
        owner=request.owner,
        fields=request.fields,
        waits=request.waits,
        position=request.position,
    )
    return round.succession.queue(queued, call, round.now.monotonic)


def answer(round: Round, request: wire.NameAnswer) -> bool:
    """Whether the standby has the name now, or has its refusal."""
    standby = round.succession.find(request.session, request.stand_by)
    if standby is None:
        return False
    if not request.token:
        round.succession.refuse_name(standby, _refusal(round, request, standby))
        return True
    holder = round.live_holder(id_key(standby.process_id))
    if holder is not None:
        # Registered here meanwhile, and not everywhere.
        round.succession.refuse_name(standby, _held(holder.entry))
        return False
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
