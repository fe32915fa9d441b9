"""The invariants, checked from the tables row by row."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .._foreign import reraise_foreign
from .._validation import check_limits, check_metadata, id_key
from ..errors import AdsumError
from ..model import Entry, Limits
from . import snapshot
from .environment import Environment
from .layout import MANY_ROW_TABLES, META_LIMITS, decode_public, encode, index_keys, owner_key, unpack_number


def violations(txn: snapshot.Txn, environment: Environment) -> list[str]:
    """Every violation of I1 to I5 in the snapshot, each beginning with the invariant's name; empty when sound."""
    entries: dict[int, Entry] = {}
    found: list[str] = []
    stored = txn.get(META_LIMITS, db=environment.meta)
    limits = Limits() if stored is None else msgspec.msgpack.decode(stored, type=Limits)
    for row, value in txn.cursor(environment.entries):
        try:
            entries[unpack_number(row)] = decode_public(value).entry
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reraise_foreign(error)
            found.append(f"I1: incarnation {unpack_number(row)} cannot be read: {error}")
    found += _names(txn, environment, entries)
    found += _index_rows(txn, environment, entries)
    for entry in entries.values():
        found += _compliance(entry, limits)
    return found


def _names(txn: snapshot.Txn, environment: Environment, entries: dict[int, Entry]) -> Iterator[str]:
    named: dict[int, bytes] = {}
    for key, row in txn.cursor(environment.ids):
        incarnation = unpack_number(row)
        entry = entries.get(incarnation)
        if entry is None:
            yield f"I1: the id {key!r} names incarnation {incarnation}, which does not exist"
        elif id_key(entry.process_id) != key:
            yield f"I3: the id {key!r} names the entry of {entry.process_id}"
        if incarnation in named:
            yield f"S1: incarnation {incarnation} has two names, {named[incarnation]!r} and {key!r}"
        named[incarnation] = key
    newest = snapshot.revision(txn, environment)
    for incarnation, entry in entries.items():
        if incarnation not in named:
            yield f"I1: the entry of {entry.process_id} (incarnation {incarnation}) has no name"
        if not incarnation == entry.incarnation <= entry.revision <= newest:
            yield (
                f"I1: {entry.process_id} is stored at {incarnation}, has incarnation {entry.incarnation} and revision "
                f"{entry.revision}, and the registry is at {newest}"
            )
        if entry.registered_at > entry.last_updated:
            yield f"I1: {entry.process_id} was updated before it was registered"


def _index_rows(txn: snapshot.Txn, environment: Environment, entries: dict[int, Entry]) -> Iterator[str]:
    expected = {("owners", owner_key(entry.owner), number) for number, entry in entries.items()}
    for number, entry in entries.items():
        expected.update((table, key, number) for table, key in index_keys(entry, environment.indexed))
    actual = {
        (table, key, unpack_number(row))
        for table in MANY_ROW_TABLES
        for key, row in txn.cursor(environment.tables[table])
    }
    for table, key, number in sorted(expected - actual):
        yield f"{_invariant(table)}: {table} lacks the row {key!r} of {entries[number].process_id}"
    for table, key, number in sorted(actual - expected):
        yield f"{_invariant(table)}: {table} has a row {key!r} for incarnation {number}, which has no such attribute"


def _invariant(table: str) -> str:
    return "I5" if table == "owners" else "I2"


def _compliance(entry: Entry, limits: Limits) -> Iterator[str]:
    try:
        check_metadata(entry.metadata)
        check_limits(entry.metadata, entry.process_id.namespace, len(encode(entry.metadata)), limits)
    except AdsumError as error:
        yield f"I4: {entry.process_id}: {error}"
    if entry.metadata.created_at > entry.metadata.last_health_check:
        yield f"I4: {entry.process_id}: created_at is after last_health_check"
