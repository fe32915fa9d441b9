"""Reading the tables in one snapshot.

Each function takes an open read transaction: index and rows are seen at the same revision, whatever is written
meanwhile (S3). None of them knows who lives; that is the reader's last step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import lmdb

from ..errors import CorruptRegistry
from ..model import Departure, Entry, Owner, ProcessType, RegistrarStats
from .environment import Environment
from .layout import (
    META_REVISION,
    META_STATS,
    decode_departure,
    decode_public,
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


def row_under(txn: Txn, environment: Environment, key: bytes) -> bytes | None:
    """The row of the entry stored under an id's key."""
    incarnation = txn.get(key, db=environment.ids)
    return None if incarnation is None else row_of(txn, environment, incarnation)


def row_of(txn: Txn, environment: Environment, incarnation: bytes) -> bytes:
    row = txn.get(incarnation, db=environment.entries)
    if row is None:
        raise CorruptRegistry(
            f"{environment.data_file} lacks incarnation {unpack_number(incarnation)}; {remedy(environment.folder)}"
        )
    return row


def revision(txn: Txn, environment: Environment) -> int:
    stored = txn.get(META_REVISION, db=environment.meta)
    return unpack_number(stored) if stored else 0


def candidates(txn: Txn, environment: Environment, query: Query) -> list[bytes]:
    """Incarnations among which every match is: the rows of the rarest condition, or all ids of the namespace."""
    if query.process_id is not None:
        row = txn.get(key_of(query.process_id), db=environment.ids)
        return [] if row is None else [row]
    keys = query.index_keys()
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
    """How many index rows stand under a key."""
    with txn.cursor(environment.tables[table]) as cursor:
        return cursor.count() if cursor.set_key(key) else 0


def count_stored(txn: Txn, environment: Environment, query: Query) -> int | None:
    """How many stored entries match, where the indexes know without looking at any; None where they do not."""
    keys = query.index_keys() or [("by_type", index_key(query.namespace, kind)) for kind in ProcessType]
    if query.index_keys() and len(keys) > 1:
        return None
    return sum(rows_under(txn, environment, table, key) for table, key in keys)


def owners(txn: Txn, environment: Environment) -> list[Owner]:
    """Everybody who owns an entry."""
    with txn.cursor(environment.tables["owners"]) as cursor:
        return [owner_of(key) for key in cursor.iternext_nodup(keys=True, values=False)]


def entries_of(txn: Txn, environment: Environment, owner: Owner) -> list[Entry]:
    """Everything `owner` owns."""
    with txn.cursor(environment.tables["owners"]) as cursor:
        found = cursor.set_key(owner_key(owner))
        rows = list(cursor.iternext_dup()) if found else []
    return [decode_public(row_of(txn, environment, row)).entry for row in rows]


def all_entries(txn: Txn, environment: Environment) -> list[Entry]:
    """Every stored entry of every namespace."""
    return [entry for owner in owners(txn, environment) for entry in entries_of(txn, environment, owner)]


def entries_at(txn: Txn, environment: Environment, incarnations: Iterable[int]) -> list[Entry]:
    """Those of these incarnations that stand."""
    rows = [txn.get(pack_number(incarnation), db=environment.entries) for incarnation in incarnations]
    return [decode_public(row).entry for row in rows if row is not None]


def departures(txn: Txn, environment: Environment, limit: int) -> list[Departure]:
    """The newest departures first."""
    found: list[Departure] = []
    with txn.cursor(environment.tables["departures"]) as cursor:
        for row in cursor.iterprev(keys=False, values=True):
            if len(found) == limit:
                break
            found.append(decode_departure(row))
    return found


def registrar_stats(txn: Txn, environment: Environment) -> RegistrarStats:
    stored = txn.get(META_STATS, db=environment.meta)
    return decode_stats(stored) if stored else RegistrarStats()


def _incarnations_in(txn: Txn, environment: Environment, namespace: str) -> Iterator[bytes]:
    prefix = namespace.encode() + b"\0"
    with txn.cursor(environment.ids) as cursor:
        if not cursor.set_range(prefix):
            return
        for key, incarnation in cursor:
            if not key.startswith(prefix):
                return
            yield incarnation
