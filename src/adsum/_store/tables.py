"""The only code that changes rows of the current tables.

`environment` and `migration` also write, into tables of a next generation, which no reader opens before they are whole.
Here, `initialise` writes the first rows of a new registry, and everything else is a commit of the registrar.

A `WriteTransaction` is one group commit: the registrar reads the tables, decides, and applies a list of changes.
Readers see all of them or none, and a crash at any instruction leaves the tables as they were before it. Where the
registrar only reads it opens a `ReadTransaction`.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from .._foreign import reraise_foreign
from .._os import identity
from ..errors import CorruptRegistry
from ..model import Departure, Entry, Limits, Owner, ProcessId, RegistrarStats
from . import history, own_index, snapshot
from .environment import Environment, translating, unreadable_row
from .layout import (
    DEPARTURES,
    FORMAT,
    HISTORIES,
    INDEXES,
    MAX_DEPARTURES,
    META_FLOORS,
    META_IDENTITY,
    META_LIMITS,
    META_NODE,
    META_REVISION,
    META_STATS,
    TABLES,
    Change,
    HostRow,
    Identity,
    Receipt,
    Record,
    RemoteRegistration,
    Standby,
    decode_departure,
    decode_identity,
    decode_record,
    decode_standby,
    decode_stats,
    encode,
    index_keys,
    lacks_exit,
    lacks_remote_exit,
    owner_key,
    owner_of,
    pack_number,
    receipt_key,
    standby_key,
    standby_prefix,
    unpack_number,
)
from .page import remedy
from .query import Query
from .room import reserve_for

T = TypeVar("T")
# Rows of a table by revision.
Rows: TypeAlias = "list[tuple[int, bytes]]"
# What entries cost. Departures and receipts are bounded by themselves, and must not keep a full registry full.
_COUNTED = ("ids", "entries", "owners", *INDEXES)
# Between two departures of one batch are others of that batch. It has 512 requests, and most of them end one entry.
_MOST_BETWEEN = 512


def bytes_used(txn: snapshot.Txn, environment: Environment, names: Sequence[str] = _COUNTED) -> int:
    """The pages that tables occupy, in bytes: those of the entries and their index rows."""
    pages = size = 0
    for name in names:
        stat = txn.stat(environment.tables[name])
        pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        size = stat["psize"]
    return pages * size


class Retention(msgspec.Struct, frozen=True):
    """How much of the past a commit leaves in the tables: so many departures, so many changes, and of those as many as
    fit in so many bytes of table pages, of this host and of others each. With `history_bytes` 0 the history begins anew
    after the commit."""

    departures: int = MAX_DEPARTURES
    changes: int = history.MAX_HISTORY
    history_bytes: float = history.MAX_HISTORY_BYTES


class ReadTransaction:
    """One snapshot, with the registrar's reads. The reads of readers are in `snapshot`."""

    def __init__(self, txn: snapshot.Txn, environment: Environment) -> None:
        self._txn = txn
        self._environment = environment
        self._tables = environment.tables
        stored = txn.get(META_REVISION, db=environment.meta)
        self.revision = unpack_number(stored) if stored else 0
        self.entries = txn.stat(environment.ids)["entries"]
        # An upper bound, had without counting.
        self.bytes_used = self._file_bytes = environment.file_bytes()

    def measure(self) -> int:
        """The pages in use, counted: `bytes_used` without the free ones. Costs as much as a small write."""
        self.bytes_used = bytes_used(self._txn, self._environment)
        return self.bytes_used

    def record(self, key: bytes) -> Record | None:
        """The record stored under an id's key."""
        incarnation = self._txn.get(key, db=self._environment.ids)
        return None if incarnation is None else self.record_at(incarnation)

    def owned(self, owner: Owner) -> list[Record]:
        """Every record of `owner`, in the order in which they were registered."""
        with self._txn.cursor(self._tables["owners"]) as cursor:
            found = cursor.set_key(owner_key(owner))
            return [self.record_at(row) for row in cursor.iternext_dup()] if found else []

    def count_owned(self, owner: Owner) -> int:
        with self._txn.cursor(self._tables["owners"]) as cursor:
            return cursor.count() if cursor.set_key(owner_key(owner)) else 0

    def candidates(self, query: Query) -> list[bytes]:
        """Rows of entries that include every match; see `record_at`."""
        return snapshot.candidates(self._txn, self._environment, query)

    @property
    def standby_count(self) -> int:
        """How many standbys there are, for all ids."""
        return self._txn.stat(self._tables["standbys"])["entries"]

    def standbys_of(self, key: bytes) -> list[Standby]:
        """The standbys of an id, in the order of their positions."""
        prefix = standby_prefix(key)
        with self._txn.cursor(self._tables["standbys"]) as cursor:
            found = []
            if cursor.set_range(prefix):
                for row, value in cursor.iternext():
                    if not row.startswith(prefix):
                        break
                    found.append(decode_standby(value))
            return found

    def all_standbys(self) -> Iterator[Standby]:
        with self._txn.cursor(self._tables["standbys"]) as cursor:
            for value in cursor.iternext(keys=False, values=True):
                yield decode_standby(value)

    def hosts(self) -> list[HostRow]:
        """The other hosts of the cluster."""
        return snapshot.hosts(self._txn, self._environment)

    def deaths_of(self, owner: Owner) -> list[tuple[int, Departure]]:
        """The departures by the death of this process that lack its exit, with their revisions. They are of one batch,
        and mostly among the newest."""
        found: list[tuple[int, Departure]] = []
        others = 0
        # The encoded fields of the owner, as they are inside an encoded entry: most rows need not be decoded.
        inside = encode(owner)[1:]
        with self._txn.cursor(self._tables["departures"]) as cursor:
            for key, row in cursor.iterprev():
                if inside in row and lacks_exit(departure := decode_departure(row), owner):
                    found.append((unpack_number(key), departure))
                    others = 0
                elif found and (others := others + 1) > _MOST_BETWEEN:
                    break
        return found

    def remote_deaths_of(self, registration: RemoteRegistration) -> list[tuple[int, Departure]]:
        """`deaths_of`, for a registration in another registry: one at most."""
        inside = encode(registration.process_id)
        with self._txn.cursor(self._tables["remote_departures"]) as cursor:
            for key, row in cursor.iterprev():
                if inside in row and lacks_remote_exit(departure := decode_departure(row), registration):
                    return [(unpack_number(key), departure)]
        return []

    def owners(self) -> list[Owner]:
        """Every owner of an entry."""
        with self._txn.cursor(self._tables["owners"]) as cursor:
            return [owner_of(key) for key in cursor.iternext_nodup(keys=True, values=False)]

    def holders(self) -> Iterator[tuple[ProcessId, Owner]]:
        """Each id that a process of this host holds, with that process."""
        with self._txn.cursor(self._tables["owners"]) as cursor:
            owners = {row: owner for key, row in cursor if (owner := owner_of(key)).pid}
        with self._txn.cursor(self._environment.ids) as cursor:
            for key, row in cursor:
                if row in owners:
                    yield ProcessId(*key.decode().split("\0")), owners[row]

    def receipts(self) -> list[Receipt]:
        """The replies that were committed and may not have been sent."""
        with self._txn.cursor(self._tables["receipts"]) as cursor:
            return [Receipt(key[:-8], unpack_number(key[-8:]), reply) for key, reply in cursor]

    def stats(self) -> RegistrarStats:
        """The counters of the last registrar."""
        stored = self._txn.get(META_STATS, db=self._environment.meta)
        return decode_stats(stored) if stored else RegistrarStats()

    def record_at(self, incarnation: bytes) -> Record:
        """The record of an incarnation, which an index or another table names."""
        row = self._txn.get(incarnation, db=self._environment.entries)
        if row is None:
            file, number = self._environment.data_file, unpack_number(incarnation)
            raise CorruptRegistry(
                f"{file} names incarnation {number} and does not hold it; {remedy(file.parent.parent)}"
            )
        return decode_record(row)


def _as_stored(entry: Entry) -> Entry:
    return entry


class WriteTransaction(ReadTransaction):
    """One group commit in the making: the tables before it, and the changes applied to them. `present` makes of a
    stored entry what it is now: with a heartbeat that is in shared memory alone."""

    def __init__(
        self,
        txn: snapshot.Txn,
        environment: Environment,
        present: Callable[[Entry], Entry] = _as_stored,
    ) -> None:
        super().__init__(txn, environment)
        self._present = present

    def record_at(self, incarnation: bytes) -> Record:
        record = super().record_at(incarnation)
        entry = self._present(record.entry)
        return record if entry is record.entry else msgspec.structs.replace(record, entry=entry)

    def index_keys(self, entry: Entry) -> frozenset[tuple[str, bytes]]:
        """Every index row that an entry of this commit must have, as (table, key)."""
        return index_keys(entry, self._environment.indexed)

    def apply(
        self,
        changes: Sequence[Change],
        departures: Sequence[tuple[int, Departure]],
        retention: Retention,
    ) -> None:
        """Write the changes, in order, with every index row they add or take away, and with their history."""
        past = _by_table(HISTORIES, changes, [change.is_remote for change in changes])
        ended = _by_table(DEPARTURES, departures, [one.entry.origin is not None for _, one in departures])
        rows = {
            name: [(change.revision, history.row_of(change)) for change in some[-retention.changes :]]
            for name, some in past.items()
        }
        for name, departed in ended.items():
            rows[name] = [(revision, encode(departure)) for revision, departure in departed[-retention.departures :]]
        # Asked before the first write: pages that this commit frees are of no use to it.
        may_grow = self.has_room(sum(map(_size, rows.values())))
        for change in changes:
            self._move(change.key, change.before, change.after)
        if changes:
            self.revision = changes[-1].revision
            self._put_meta(META_REVISION, pack_number(self.revision))
            if retention.history_bytes:
                for name, some in past.items():
                    left_out = some[: -retention.changes]
                    gone = self._append(name, rows[name], retention.changes, retention.history_bytes, may_grow=may_grow)
                    self._raise_floor(name, max(gone, left_out[-1].revision if left_out else 0))
            else:
                for name in HISTORIES:
                    self._txn.drop(self._tables[name], delete=False)
                    self._raise_floor(name, self.revision)
        for name in ended:
            self._append(name, rows[name], retention.departures, may_grow=may_grow)

    def _raise_floor(self, name: str, gone: int) -> None:
        """The newest change that a history does not keep is this one; 0 where this commit left none out."""
        if gone:
            self._put_meta(META_FLOORS[name], pack_number(gone))

    def refresh(self, records: Iterable[Record]) -> None:
        """Write records that differ in nothing that an index or the history knows."""
        for record in records:
            self._txn.put(pack_number(record.entry.incarnation), encode(record), db=self._environment.entries)

    def amend_departures(self, amended: Iterable[tuple[int, Departure]]) -> None:
        """Write departures that are known better, except those that newer ones have pushed out meanwhile."""
        for revision, departure in amended:
            table = self._tables[DEPARTURES[departure.entry.origin is not None]]
            key = pack_number(revision)
            if self._txn.get(key, db=table) is not None:
                self._txn.put(key, encode(departure), db=table)

    def write_standbys(self, queued: Iterable[Standby], dequeued: Iterable[Standby]) -> None:
        """Add rows of standbys, then remove rows; one may be in both."""
        table = self._tables["standbys"]
        for standby in queued:
            self._txn.put(standby_key(standby), encode(standby), db=table)
        for standby in dequeued:
            self._txn.delete(standby_key(standby), db=table)

    def write_hosts(self, hosts: Iterable[tuple[str, HostRow | None]]) -> None:
        """Write the rows of hosts, and remove those of hosts that are gone."""
        table = self._tables["hosts"]
        for host, row in hosts:
            if row is None:
                self._txn.delete(host.encode(), db=table)
            else:
                self._txn.put(host.encode(), encode(row), db=table)

    def keep_receipts(self, receipts: Iterable[Receipt], obsolete: Iterable[tuple[bytes, int]]) -> None:
        """Store the replies of this batch with its changes, and remove those that are obsolete."""
        table = self._tables["receipts"]
        for key in obsolete:
            self._txn.delete(receipt_key(*key), db=table)
        for receipt in receipts:
            self._txn.put(receipt_key(receipt.session, receipt.number), receipt.reply, db=table)

    def has_room(self, needed: int) -> bool:
        """Whether this commit may take `needed` bytes more, and leave the reserve to those that free room."""
        room = self._environment.room
        if room is None or room.reaches(self._file_bytes + needed + reserve_for(self._file_bytes)):
            return True
        # The file system has no more. Pages that earlier commits freed may be enough, except those of the last one:
        # until this one is made, a reader may begin with the tables before the last (mdb_find_oldest in mdb.c).
        used = bytes_used(self._txn, self._environment, TABLES)
        before, room.used_bytes = room.used_bytes, used
        return max(used, before) + needed + reserve_for(used) <= room.allocated_bytes()

    def keep_stats(self, stats: RegistrarStats) -> None:
        self._put_meta(META_STATS, encode(stats))

    def _move(self, key: bytes, before: Record | None, after: Record | None) -> None:
        stays = before is not None and after is not None and before.entry.incarnation == after.entry.incarnation
        obsolete = self._rows(before.entry) if before else _NO_ROWS
        missing = self._rows(after.entry) if after else _NO_ROWS
        if stays:
            obsolete, missing = obsolete - missing, missing - obsolete
        if before:
            row = pack_number(before.entry.incarnation)
            if not stays:
                self._txn.delete(row, db=self._environment.entries)
                self._txn.delete(key, db=self._environment.ids)
            for table, index in obsolete:
                self._txn.delete(index, row, db=self._tables[table])
        if after:
            row = pack_number(after.entry.incarnation)
            self._txn.put(row, encode(after), db=self._environment.entries, append=not stays)
            if not stays:
                self._txn.put(key, row, db=self._environment.ids)
            for table, index in missing:
                self._txn.put(index, row, db=self._tables[table])

    def _rows(self, entry: Entry) -> frozenset[tuple[str, bytes]]:
        """Where the row of an entry must be found, as (table, key)."""
        return self.index_keys(entry) | {("owners", owner_key(entry.owner))}

    def _append(
        self,
        name: str,
        rows: Rows,
        most_rows: int,
        most_bytes: float = math.inf,
        *,
        may_grow: bool,
    ) -> int:
        """Add rows under their revisions to a table that keeps the newest: so many, on pages of so many bytes. Where
        the table may not grow, the rows take the place of older ones, or are left out. The newest revision that is not
        kept, 0 where this has left nothing out."""
        table, gone = self._tables[name], 0
        if not may_grow:
            most_bytes = min(most_bytes, self._bytes_of(name))
            while rows and _size(rows) > most_bytes:
                # What remains must have no gap: the rows before those that are left out go first.
                self._txn.drop(table, delete=False)
                left_out = 1 + len(rows) // 2
                gone = rows[:left_out][-1][0]
                rows = rows[left_out:]
        for revision, row in rows:
            self._txn.put(pack_number(revision), row, db=table, append=True)
        stored = self._txn.stat(table)["entries"]
        if stored <= most_rows and self._bytes_of(name) <= most_bytes:
            return gone
        with self._txn.cursor(table) as cursor:
            cursor.first()
            while stored > most_rows or (stored > 1 and self._bytes_of(name) > most_bytes):
                gone = unpack_number(cursor.key())
                cursor.delete()
                stored -= 1
        return gone

    def _bytes_of(self, name: str) -> int:
        return bytes_used(self._txn, self._environment, [name])

    def _put_meta(self, word: bytes, value: bytes) -> None:
        self._txn.put(word, value, db=self._environment.meta)


def _by_table(names: Sequence[str], some: Sequence[T], remote: Sequence[bool]) -> Mapping[str, Sequence[T]]:
    """What belongs into each of two tables: that which is about this host, and that about others."""
    if not some:
        return {}
    if True not in remote:
        return {names[False]: some}
    found: dict[str, list[T]] = {}
    for one, is_remote in zip(some, remote, strict=True):
        found.setdefault(names[is_remote], []).append(one)
    return found


def _size(rows: Iterable[tuple[int, bytes]]) -> int:
    return sum(len(row) for _, row in rows)


_NO_ROWS: frozenset[tuple[str, bytes]] = frozenset()


class write:  # noqa: N801 - used as `read` is; no generator, because each commit makes one
    """A transaction that commits at the end of the block and leaves no trace when the block raises."""

    def __init__(self, environment: Environment, present: Callable[[Entry], Entry] = _as_stored) -> None:
        self._environment = environment
        self._present = present

    def __enter__(self) -> WriteTransaction:
        with translating(self._environment.folder):
            self._txn = self._environment.lmdb.begin(write=True)
            try:
                return WriteTransaction(self._txn, self._environment, self._present)
            except BaseException:
                self._txn.abort()
                raise

    def __exit__(self, *raised: Any) -> None:
        translates = translating(self._environment.folder)
        with translates:
            self._txn.__exit__(*raised)
        # What the block raised, of LMDB or the file system, is translated too.
        translates.__exit__(*raised)


@contextlib.contextmanager
def read(environment: Environment) -> Iterator[ReadTransaction]:
    """A snapshot for as long as the block lasts; no longer, for it keeps pages from being used again."""
    with translating(environment.folder), environment.lmdb.begin() as txn:
        yield ReadTransaction(txn, environment)


def initialise(environment: Environment, limits: Limits) -> None:
    """Write the identity, the limits and the node of new tables. The node is the name that the host has now."""
    here = Identity(FORMAT, identity.boot_id(), identity.pid_namespace())
    environment.indexed = own_index.parsed(limits.indexed)
    with write(environment) as batch:
        batch._put_meta(META_IDENTITY, encode(here))
        batch._put_meta(META_LIMITS, encode(limits))
        batch._put_meta(META_NODE, identity.host_name().encode())
        batch._put_meta(META_REVISION, pack_number(0))


def check_identity(environment: Environment) -> Limits:
    """The limits of tables of the present format; see `stored_limits`."""
    with translating(environment.folder), environment.lmdb.begin() as txn:
        limits = stored_limits(txn, environment, FORMAT)
    environment.indexed = own_index.parsed(limits.indexed)
    return limits


def node_of(environment: Environment) -> str:
    """The registry's own node, which completes an id that names none."""
    with translating(environment.folder), environment.lmdb.begin() as txn:
        stored = txn.get(META_NODE, db=environment.meta)
    return identity.host_name() if stored is None else stored.decode()


def stored_limits(txn: snapshot.Txn, environment: Environment, format: int) -> Limits:
    """The limits stored in the tables. Errors: `CorruptRegistry` unless they are of this boot, PID namespace and
    `format`."""
    stored, limits = (txn.get(word, db=environment.meta) for word in (META_IDENTITY, META_LIMITS))
    here = Identity(format, identity.boot_id(), identity.pid_namespace())
    if stored is None or limits is None or decode_identity(stored) != here:
        raise CorruptRegistry(
            f"{environment.data_file} does not belong to the page beside it; {remedy(environment.folder)}"
        )
    try:
        return msgspec.msgpack.decode(limits, type=Limits)
    except msgspec.DecodeError as error:
        reraise_foreign(error)
        raise unreadable_row(error, environment.folder) from error
