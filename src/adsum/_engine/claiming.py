"""Requests about claims: one handler for each. The rules are in `claims`."""

from __future__ import annotations

from .. import _wire as wire
from .._store.sent_query import claimed_query
from .._validation import id_key
from ..errors import UnknownCondition, VersionMismatch
from .batch import Call
from .claims import not_registered
from .round import Round


def carry_out(round: Round, request: wire.Claim | wire.Release, call: Call) -> wire.AnyReply:
    if isinstance(request, wire.Claim):
        return claim(round, request, call)
    return wire.Done(call.number, [], changed=round.claims.release(request.owner, request.number))


def claim(round: Round, request: wire.Claim, call: Call) -> wire.AnyReply:
    process_id = None if request.process_id is None else round.complete(request.process_id)
    try:
        query = claimed_query(request.namespace, request.conditions, process_id)
    except UnknownCondition as error:
        # The client knows it.
        raise VersionMismatch(
            f"this registrar is older than its client, and nothing was changed: {error}. Replace it: adsum registrar "
            "--replace"
        ) from error
    round.require_alive(request.owner)
    if process_id is not None:
        holder = round.live_holder(id_key(process_id))
        if holder is None:
            raise not_registered(query)
        round.require_own(holder.entry)
    return round.claims.claim(request, query, call)
