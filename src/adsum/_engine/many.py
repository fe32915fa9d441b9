"""Requests about several entries at once: all of them change, at consecutive revisions, or none does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from .. import _wire as wire
from .._store.layout import BeforeLate, Record
from .._validation import UNSET, MetadataFields, check_fields, id_key, merge
from ..errors import InvalidProcessId, NotRegistered
from ..model import Entry, HealthSource, Kind, Metadata, ProcessId
from .admission import Update
from .batch import Call
from .draft import without_lateness
from .health import HEALTH_FIELDS, health_source
from .round import Round


class _Revised(NamedTuple):
    """A record, what the request makes of it, and whether that counts as a heartbeat."""

    record: Record
    metadata: Metadata
    source: HealthSource
    before_late: BeforeLate | None
    is_heartbeat: bool
    may_grow: bool


def carry_out(round: Round, request: wire.UpdateMany | wire.UnregisterMany, call: Call) -> wire.Done:
    if isinstance(request, wire.UpdateMany):
        return update(round, request, call)
    return unregister(round, request, call)


def update(round: Round, request: wire.UpdateMany, call: Call) -> wire.Done:
    holders = _holders(round, [process_id for process_id, _ in request.items])
    revised = [
        _revised(round, record, fields, call) for record, (_, fields) in zip(holders, request.items, strict=True)
    ]
    round.admission.check_updates([Update(one.record.entry, one.metadata, one.may_grow) for one in revised])
    entries = []
    for one in revised:
        entries.append(round.draft.replace(one.record, one.metadata, one.source, one.before_late))
        if one.is_heartbeat:
            round.heartbeats.append(one.record.entry.incarnation)
    return wire.Done(call.number, entries)


def unregister(round: Round, request: wire.UnregisterMany, call: Call) -> wire.Done:
    removed = []
    for process_id, incarnation in request.items:
        record = round.live_holder(id_key(_complete(round, process_id)))
        if record is not None and incarnation in (None, record.entry.incarnation):
            round.draft.remove(record, Kind.unregistered, "unregistered")
            removed.append(record)
    # After all of them: none is granted to a standby before the last one is free.
    round.succession.grant_freed(removed)
    return wire.Done(call.number, [_outline(record.entry) for record in removed], changed=bool(removed))


def _holders(round: Round, ids: Sequence[ProcessId]) -> list[Record]:
    """The living holders of these ids. Errors: `NotRegistered`; `InvalidProcessId` where an id is there twice."""
    completed = [_complete(round, process_id) for process_id in ids]
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
        holders.append(record)
    return holders


def _complete(round: Round, process_id: ProcessId) -> ProcessId:
    """The id, with the registry's own node where it names none (`wire.NODE_OF_REGISTRY`)."""
    return process_id if process_id.node else process_id._replace(node=round.node)


def _revised(round: Round, record: Record, fields: MetadataFields, call: Call) -> _Revised:
    """As `handlers.update` does it for one entry."""
    check_fields(fields)
    given = fields.given()
    may_grow = HEALTH_FIELDS.issuperset(given)
    # A member that promises no heartbeat any more is not late with one.
    basis = without_lateness(record) if given.get("heartbeat", UNSET) is None else record
    metadata = merge(basis.entry.metadata, fields, round.now.utc)
    if "health_status" not in given:
        return _Revised(record, metadata, basis.entry.health_source, basis.before_late, False, may_grow)
    return _Revised(record, metadata, health_source(fields, call, record.entry.owner), None, True, may_grow)


def _outline(entry: Entry) -> Entry:
    """The entry without its metadata: the reply, and its receipt in the tables, stay small."""
    return msgspec.structs.replace(entry, metadata=Metadata())
