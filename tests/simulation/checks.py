"""The specification's invariants, each a function from the tables to a list of violations."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime
from typing import Any

import lmdb

from adsum._engine.free_rows import FreeMemberRows
from adsum._store.page import bucket_of
from adsum._store.page_layout import MEMBER_ROWS
from adsum.model import Limits, Owner

from .asks import Ask, Fields
from .expected import ExpectedDeparture, public
from .model import Model
from .reading import PlainDeparture, PlainEntry, Tables, encoded_entry, encoded_metadata, expected_rows, id_key

TYPES = {"agent", "service", "coordinator", "resource_manager"}
HEALTH = {"healthy", "degraded", "unhealthy"}
DEPARTURE_BYTES = 4096
# Bytes of an entry beyond its metadata, at most: index rows, half-filled pages, a page of its own.
ENTRY_BYTES = 24 * 1024
HEADROOM = 128 * 1024


def sound(tables: Tables, limits: Limits) -> list[str]:
    """I1, I2, I3, I4, S1, S3 and S7, from the rows alone."""
    wrong = []
    names = {id_key(entry.id): number for number, entry in tables.entries.items()}
    if len(names) != len(tables.entries):
        wrong.append("S1: two entries have one id")
    if names != tables.ids:
        wrong.append(f"I1, I3: ids name {tables.ids}, entries are {names}")
    for number, entry in tables.entries.items():
        if not number == entry.incarnation <= entry.revision <= tables.revision:
            wrong.append(f"I1: {entry} has the row {number} at revision {tables.revision}")
        if entry.registered_at > entry.last_updated:
            wrong.append(f"I1: {entry.id} was updated at {entry.last_updated}, registered at {entry.registered_at}")
        wrong += [f"I4: {entry.id}: {fault}" for fault in violations(entry.metadata, limits)]
    if len(set(tables.member_rows)) < len(tables.member_rows):
        wrong.append(f"two entries have one member row: {sorted(tables.member_rows)}")
    rows = {row for entry in tables.entries.values() for row in expected_rows(entry)}
    wrong += [f"I2: the row {row} is missing" for row in rows - tables.rows]
    wrong += [f"S3, S7: the row {row} belongs to no entry" for row in tables.rows - rows]
    if tables.bytes_used > limits.max_memory_bytes:
        wrong.append(f"S4: {tables.bytes_used} bytes used, {limits.max_memory_bytes} allowed")
    return wrong


def violations(metadata: Fields, limits: Limits) -> list[str]:
    """The violations of stored metadata, by the rules of the specification."""
    names = [*metadata["capabilities"], *metadata["coordination_variables"], *metadata["node_affinity"]]
    names += metadata["resources"]
    endpoint = metadata["endpoint"]
    rules = {
        "type": metadata["type"] in TYPES,
        "health_status": metadata["health_status"] in HEALTH,
        "a name": all(isinstance(name, str) and name and "\0" not in name and len(name) <= 255 for name in names),
        "resources": all(type(value) in (int, float, str) for value in metadata["resources"].values()),
        "endpoint": endpoint is None or (isinstance(endpoint, str) and 0 < len(endpoint) <= 2048),
        "the times": metadata["created_at"] <= metadata["last_health_check"],
        "custom": isinstance(metadata["custom"], dict) and _is_plain(metadata["custom"]),
        "description": len(metadata["description"].encode()) <= 4096,
        "a line": all(_is_line(metadata[name]) for name in ("version", "doing")),
        "version": len(metadata["version"].encode()) <= 128,
        "doing": len(metadata["doing"]) <= 200,
        "protocols": len(metadata["protocols"]) <= 32 and all(0 < len(word) <= 32 for word in metadata["protocols"]),
        "the number of capabilities": len(metadata["capabilities"]) <= limits.max_capabilities,
        "the size": encoded_metadata(metadata) <= limits.max_metadata_bytes,
    }
    return [f"{rule} of {str(metadata)[:200]}" for rule, holds in rules.items() if not holds]


def _is_line(text: str) -> bool:
    return text in ("", *text.splitlines()) and "\x1b" not in text


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(part) for name, part in value.items())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def agrees(tables: Tables, model: Model) -> list[str]:
    """The tables hold the entries of the model, at the same revision, with the same departures."""
    wrong = []
    if tables.revision != model.revision:
        wrong.append(f"the tables are at revision {tables.revision}, the model at {model.revision}")
    found = tables.by_id
    pairs = ((id, found.get(id), model.holders.get(id)) for id in found.keys() | model.holders.keys())
    wrong += [f"{id} is {stands}, should be {wanted}" for id, stands, wanted in pairs if stands != wanted]
    if len(tables.departures) != len(model.departures):
        wrong.append(f"{len(tables.departures)} departures are kept, should be {len(model.departures)}")
    left = zip(tables.departures, model.departures, strict=False)
    wrong += [f"the departure {gone} should be {wanted}" for gone, wanted in left if not _is_departure(gone, wanted)]
    return wrong


def _is_departure(gone: PlainDeparture, left: ExpectedDeparture) -> bool:
    entry = public(left.entry)
    if encoded_entry(entry) > DEPARTURE_BYTES:
        kept = ("type", "health_status", "created_at", "last_health_check")
        outline = {name: entry.metadata[name] if name in kept else type(v)() for name, v in entry.metadata.items()}
        entry = entry._replace(metadata={**outline, "endpoint": None, "heartbeat": None, "slots": None})
    return (gone.revision, gone.how, gone.entry, gone.exit) == (left.revision, left.how, entry, left.exit) and (
        gone.detection >= 0 and gone.size <= DEPARTURE_BYTES + 64
    )


def monitored(entries: Iterable[PlainEntry], watched: Iterable[Owner]) -> list[str]:
    """I5, where there are no claims and no dependants: every watched process owns an entry, and every owner is
    watched."""
    owners = {Owner(*entry.owner) for entry in entries}
    return [f"I5: watched {set(watched)}, owners are {owners}"] if set(watched) != owners else []


def free_rows(tables: Tables, free: FreeMemberRows) -> list[str]:
    """The registrar knows of every member row whether an entry has it."""
    untouched = {row for row in tables.member_rows if row >= free._untouched and row not in free._given_before}
    wrong = untouched | set(free._freed).union(free._next).intersection(tables.member_rows)
    if wrong or len(free) != MEMBER_ROWS - len(tables.member_rows):
        return [f"{len(free)} rows are free, {wrong} of these among them: {sorted(tables.member_rows)}"]
    return []


def never_again(before: Tables, after: Tables) -> list[str]:
    """Incarnations only grow: those registered since the last look are larger than all before."""
    again = [number for number in after.entries.keys() - before.entries.keys() if number <= before.revision]
    return [f"I1: incarnations {again} came again after revision {before.revision}"] if again else []


def short_of_memory(tables: Tables, asks: Iterable[Ask], limits: Limits) -> bool:
    """Whether it can be true that a batch found no room, had all of it been carried out."""
    sizes = [sum(map(_largest, item.fields.values())) + ENTRY_BYTES for ask in asks for item in ask.items]
    sizes += [_largest(ask.merged) + _largest(ask.added) for ask in asks]
    return tables.bytes_used + 2 * sum(sizes) > limits.max_memory_bytes - HEADROOM


def _largest(value: object) -> int:
    return len(str(value)) if not isinstance(value, datetime) else 16


class CarefulReader:
    """A reader that caches rows for as long as the page's counters allow, and finds them true."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[int, bytes | None]] = {}

    def look(self, environment: lmdb.Environment, counters: memoryview, keys: Iterable[bytes]) -> list[str]:
        """Compare the rows that may still be trusted with the tables, and keep the present ones."""
        wrong = []
        with environment.begin() as txn:
            ids, entries = (environment.open_db(name, txn, create=False) for name in (b"ids", b"entries"))
            for key in keys:
                count = counters[bucket_of(key)]
                number = txn.get(key, db=ids)
                row = None if number is None else txn.get(number, db=entries)
                stood, kept = self._kept.get(key, (-1, None))
                if stood == count and kept != row:
                    wrong.append(f"L5: a reader would still trust {kept!r} for {key!r}, which is {row!r}")
                if count & 1:
                    wrong.append(f"the counter of {key!r} was left at {count}")
                self._kept[key] = (count, row)
        return wrong


def unmarked(before: Tables, after: Tables, marked: Set[int]) -> list[str]:
    """The counter of every id whose entry is another one now was odd before the commit."""
    one, other = before.by_id, after.by_id
    changed = {id for id in one.keys() | other.keys() if one.get(id) != other.get(id)}
    missing = [id for id in changed if bucket_of(id_key(id)) not in marked]
    return [f"L5: the counters of {missing} were not marked before the commit that changed them"] if missing else []
