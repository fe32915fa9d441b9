"""Requests about several entries at once: all of them change, at consecutive revisions, or none does."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .. import _wire as wire
from .._store.layout import Record
from .._validation import check_fields, id_key
from ..errors import InvalidProcessId, NotRegistered
from ..model import Entry, Kind, Metadata, ProcessId
from . import updating
from .batch import Call
from .round import Round


def carry_out(round: Round, request: wire.UpdateMany | wire.UnregisterMany, call: Call) -> wire.Done:
    if isinstance(request, wire.UpdateMany):
        return update(round, request, call)
    return unregister(round, request, call)


def update(round: Round, request: wire.UpdateMany, call: Call) -> wire.Done:
    holders = _holders(round, [process_id for process_id, _ in request.items])
    prepared = []
    for record, (_, fields) in zip(holders, request.items, strict=True):
        check_fields(fields)
        prepared.append(updating.prepare(round, record, fields, call))
    return wire.Done(call.number, updating.apply(round, prepared))


def unregister(round: Round, request: wire.UnregisterMany, call: Call) -> wire.Done:
    # All ids are checked before the first entry is removed.
    wanted = [(id_key(round.complete(process_id)), incarnation) for process_id, incarnation in request.items]
    removed = []
    for key, incarnation in wanted:
        record = round.live_holder(key)
        if record is not None and incarnation in (None, record.entry.incarnation):
            round.require_own(record.entry)
            round.draft.remove(record, Kind.unregistered, "unregistered")
            removed.append(record)
        elif record is None:
            round.unreserve(key)
    # After all of them: none is granted to a standby before the last one is free.
    round.succession.grant_freed(removed)
    return wire.Done(call.number, [_outline(record.entry) for record in removed], changed=bool(removed))


def _holders(round: Round, ids: Sequence[ProcessId]) -> list[Record]:
    """The living holders of these ids. Errors: `NotRegistered`; `InvalidProcessId` where an id is there twice."""
    completed = [round.complete(process_id) for process_id in ids]
    keys = [id_key(process_id) for process_id in completed]
    if len(set(keys)) < len(keys):
        raise InvalidProcessId("one call names the same id twice; give each id once")
    # First for all: it removes the dead, and with them entries that were asked for before.
    for key in keys:
        round.live_holder(key)
    holders = []
    for process_id, key in zip(completed, keys, strict=True):
        record = round.draft.record(key)
        if record is None:
            raise NotRegistered(
                f"{process_id} is not registered (or its process has died); none of the {len(ids)} entries was changed"
            )
        round.require_own(record.entry)
        holders.append(record)
    return holders


def _outline(entry: Entry) -> Entry:
    """The entry without its metadata: the reply, and its receipt in the tables, stay small."""
    return msgspec.structs.replace(entry, metadata=Metadata())
