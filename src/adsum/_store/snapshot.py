"""Reads of the tables in one snapshot.

Each function takes an open read transaction, so it sees indexes and rows at the same revision, whatever the registrar
commits meanwhile (S3). None of them checks whether an owner is alive; that is the last step of the reader.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import lmdb

from ..errors import CorruptRegistry
from ..model import Departure, Entry, Owner, ProcessType, RegistrarStats
from .environment import Environment
from .layout import (
    DEPARTURES,
    META_REVISION,
    META_STATS,
    HostRow,
    Standby,
    decode_departure,
    decode_host,
    decode_public,
    decode_standby,
    decode_stats,
    index_key,
    key_of,
    owner_key,
    owner_of,
    pack_number,
    unpack_number,
)
from .page import remedy
from .query import Query

Txn: TypeAlias = "lmdb.Transaction[bytes]"

# Rows are read in one step of C, which other threads wait for, and are in memory together.
_ROWS_AT_ONCE = 512


def entry_under(txn: Txn, environment: Environment, key: bytes) -> tuple[Entry, int] | None:
    """The entry that is registered under an id's key, and the bytes of its row; None where there is none."""
    incarnation = txn.get(key, db=environment.ids)
    if incarnation is None:
        return None
    row = row_of(txn, environment, incarnation)
    return decode_public(row).entry, len(row)


def row_of(txn: Txn, environment: Environment, incarnation: bytes) -> bytes:
    """The row of an incarnation, which an index or another table names."""
    row = txn.get(incarnation, db=environment.entries)
    if row is None:
        raise CorruptRegistry(
            f"{environment.data_file} lacks incarnation {unpack_number(incarnation)}; {remedy(environment.folder)}"
        )
    return row


def rows_of(txn: Txn, environment: Environment, incarnations: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """`row_of` for many: each incarnation with its row, in this order."""
    with txn.cursor(environment.entries) as cursor:
        for first in range(0, len(incarnations), _ROWS_AT_ONCE):
            some = incarnations[first : first + _ROWS_AT_ONCE]
            found: list[tuple[bytes, bytes]] = cursor.getmulti(some)
            if len(found) < len(some):
                for incarnation in some:
                    row_of(txn, environment, incarnation)
            yield from found


def revision(txn: Txn, environment: Environment) -> int:
    """The revision of the newest change in the snapshot."""
    stored = txn.get(META_REVISION, db=environment.meta)
    return unpack_number(stored) if stored else 0


def candidates(txn: Txn, environment: Environment, query: Query) -> list[bytes]:
    """Row keys of entries that include every match: those of the condition with the fewest index rows, or all of the
    namespace, or of all namespaces."""
    if query.process_id is not None:
        row = txn.get(key_of(query.process_id), db=environment.ids)
        return [] if row is None else [row]
    keys = query.index_keys(environment.indexed)
    if not keys:
        return list(_incarnations_in(txn, environment, query.namespace))
    counts = [(rows_under(txn, environment, table, key), table, key) for table, key in keys]
    fewest, table, key = min(counts)
    if not fewest:
        return []
    with txn.cursor(environment.tables[table]) as cursor:
        cursor.set_key(key)
        return list(cursor.iternext_dup())


def rows_under(txn: Txn, environment: Environment, table: str, key: bytes) -> int:
    """How many index rows a key has."""
    with txn.cursor(environment.tables[table]) as cursor:
        return cursor.count() if cursor.set_key(key) else 0


def count_stored(txn: Txn, environment: Environment, query: Query) -> int | None:
    """How many stored entries match, where one index says so; None where entries would have to be read."""
    if query.namespace is None or not query.is_indexed:
        return None
    keys = query.index_keys() or [("by_type", index_key(query.namespace, kind)) for kind in ProcessType]
    return sum(rows_under(txn, environment, table, key) for table, key in keys)


def owners(txn: Txn, environment: Environment) -> list[Owner]:
    """Every owner of an entry."""
    with txn.cursor(environment.tables["owners"]) as cursor:
        return [owner_of(key) for key in cursor.iternext_nodup(keys=True, values=False)]


def hosts(txn: Txn, environment: Environment) -> list[HostRow]:
    """The other hosts of the cluster."""
    with txn.cursor(environment.tables["hosts"]) as cursor:
        return [decode_host(row) for row in cursor.iternext(keys=False, values=True)]


def standbys(txn: Txn, environment: Environment) -> list[Standby]:
    """All standbys."""
    with txn.cursor(environment.tables["standbys"]) as cursor:
        return [decode_standby(row) for row in cursor.iternext(keys=False, values=True)]


def count_of(txn: Txn, environment: Environment, owner: Owner) -> int:
    """How many entries an owner has."""
    with txn.cursor(environment.tables["owners"]) as cursor:
        return cursor.count() if cursor.set_key(owner_key(owner)) else 0


def entries_of(txn: Txn, environment: Environment, owner: Owner) -> list[Entry]:
    """The entries of an owner."""
    with txn.cursor(environment.tables["owners"]) as cursor:
        found = cursor.set_key(owner_key(owner))
        rows = list(cursor.iternext_dup()) if found else []
    return [decode_public(row).entry for _, row in rows_of(txn, environment, rows)]


def all_entries(txn: Txn, environment: Environment) -> list[Entry]:
    """Every stored entry of every namespace."""
    return [entry for owner in owners(txn, environment) for entry in entries_of(txn, environment, owner)]


def entries_at(txn: Txn, environment: Environment, incarnations: Iterable[int]) -> list[Entry]:
    """The entries of these incarnations, those that are still registered."""
    rows = [txn.get(pack_number(incarnation), db=environment.entries) for incarnation in incarnations]
    return [decode_public(row).entry for row in rows if row is not None]


def departures(txn: Txn, environment: Environment, limit: int, *, here: bool = False) -> list[Departure]:
    """At most `limit` departures, the newest first; with `here`, of members of this registry alone."""
    newest: list[tuple[bytes, bytes]] = []
    for name in DEPARTURES[:1] if here else DEPARTURES:
        with txn.cursor(environment.tables[name]) as cursor:
            newest += itertools.islice(cursor.iterprev(), min(limit, sys.maxsize))
    newest.sort(reverse=True)
    return [decode_departure(row) for _, row in newest[:limit]]


def departure_of(txn: Txn, environment: Environment, entry: Entry, revision: int) -> Departure | None:
    """How an entry ended that was removed at this revision; None where it is not known."""
    row = txn.get(pack_number(revision), db=environment.tables[DEPARTURES[entry.origin is not None]])
    departure = None if row is None else decode_departure(row)
    # A registry that was made anew has other departures at the same revisions.
    is_of_entry = departure is not None and (departure.entry.process_id, departure.entry.owner) == (
        entry.process_id,
        entry.owner,
    )
    return departure if is_of_entry else None


def registrar_stats(txn: Txn, environment: Environment) -> RegistrarStats:
    """The figures that the registrar stored last."""
    stored = txn.get(META_STATS, db=environment.meta)
    return decode_stats(stored) if stored else RegistrarStats()


def _incarnations_in(txn: Txn, environment: Environment, namespace: str | None) -> Iterator[bytes]:
    """The incarnations in a namespace; in all of them for None."""
    prefix = b"" if namespace is None else namespace.encode() + b"\0"
    with txn.cursor(environment.ids) as cursor:
        if not cursor.set_range(prefix):
            return
        for key, incarnation in cursor:
            if not key.startswith(prefix):
                return
            yield incarnation
