"""The tables, read row by row without the code that is under test.

Keys are taken apart and built here once more, and rows decoded as plain lists; were this to share the registrar's own
functions, a mistake in them would look right from both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import lmdb
import msgspec

from .asks import Fields, Id

_METADATA = (
    "type",
    "capabilities",
    "resources",
    "coordination_variables",
    "health_status",
    "node_affinity",
    "created_at",
    "last_health_check",
    "endpoint",
    "custom",
    "heartbeat",
    "gauges",
    "slots",
    "description",
    "version",
    "protocols",
    "doing",
)
_INDEXES = ("by_capability", "by_type", "by_health", "by_node")
_SETS = ("capabilities", "coordination_variables", "protocols")


class PlainEntry(NamedTuple):
    """One entry in plain data."""

    id: Id
    owner: tuple[int, int, int]
    incarnation: int
    registered_at: datetime
    last_updated: datetime
    revision: int
    metadata: Fields
    source: str = "process"
    session: bytes = b""
    # Health status and source before a missed heartbeat was noted.
    before_late: tuple[str, str] | None = None


class Change(NamedTuple):
    """One step of the history in plain data."""

    revision: int
    kind: str
    before: PlainEntry | None
    after: PlainEntry | None


class PlainDeparture(NamedTuple):
    """One departure in plain data."""

    revision: int
    how: str
    entry: PlainEntry
    detection: float
    size: int
    exit: int | None


class Tables(NamedTuple):
    """Everything that the tables hold at one revision."""

    revision: int
    ids: dict[bytes, int]
    entries: dict[int, PlainEntry]
    rows: set[tuple[str, bytes, int]]
    departures: list[PlainDeparture]
    history: list[tuple[int, str, int, int, PlainEntry | None]]
    standing_by: list[tuple[Id, bytes, int]]
    bytes_used: int
    # By incarnation: where in shared memory the entries that have a row write.
    places: dict[int, int]

    @property
    def member_rows(self) -> list[int]:
        return [place & 0x3FFF for place in self.places.values()]

    def with_heartbeats(self, written: Mapping[int, datetime]) -> Tables:
        """The tables as readers see them, with the heartbeats that are in shared memory, by incarnation."""
        entries = dict(self.entries)
        for incarnation, time in written.items():
            entry = entries[incarnation]
            if entry.metadata["heartbeat"] is not None:
                checked = max(time, entry.metadata["last_health_check"])
                entries[incarnation] = entry._replace(metadata={**entry.metadata, "last_health_check": checked})
        return self._replace(entries=entries)

    @property
    def by_id(self) -> dict[Id, PlainEntry]:
        return {entry.id: entry for entry in self.entries.values()}


def read(environment: lmdb.Environment) -> Tables:
    """One snapshot of all tables."""
    with environment.begin() as txn:

        def rows(table: str) -> list[tuple[bytes, bytes]]:
            return list(txn.cursor(db=environment.open_db(table.encode(), txn, create=False)))

        def pages(table: str) -> int:
            stat = txn.stat(environment.open_db(table.encode(), txn, create=False))
            return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]) * int(stat["psize"])

        return Tables(
            revision=_number(dict(rows("meta"))[b"revision"]),
            ids={key: _number(row) for key, row in rows("ids")},
            entries={_number(key): _stored(_plain(row)) for key, row in rows("entries")},
            rows={(table, key, _number(row)) for table in (*_INDEXES, "owners") for key, row in rows(table)},
            departures=[_gone(_number(key), row) for key, row in rows("departures")],
            history=[_step(_number(key), row) for key, row in rows("history")],
            standing_by=[_waits(key, row) for key, row in rows("standbys")],
            places={_number(key): place for key, row in rows("entries") if (place := _place(_plain(row)[0]))},
            bytes_used=sum(pages(table) for table in ("ids", "entries", "owners", *_INDEXES)),
        )


def receipts(environment: lmdb.Environment) -> dict[tuple[bytes, int], bytes]:
    """The replies that are stored for clients that have not read them yet."""
    with environment.begin() as txn:
        table = environment.open_db(b"receipts", txn, create=False)
        return {(key[:-8], _number(key[-8:])): data for key, data in txn.cursor(db=table)}


def place_of(environment: lmdb.Environment, incarnation: int) -> int:
    """Where in shared memory an entry writes."""
    with environment.begin() as txn:
        row = txn.get(incarnation.to_bytes(8, "big"), db=environment.open_db(b"entries", txn, create=False))
    return 0 if row is None else _place(_plain(row)[0])


def _stored(row: Sequence[Any]) -> PlainEntry:
    """The entry in a decoded row of the entries, with the registrar's private fields."""
    entry, session, before_late = row
    return plain_entry(entry)._replace(session=session, before_late=None if before_late is None else tuple(before_late))


def _place(entry: Sequence[Any]) -> int:
    """Where in shared memory a decoded entry writes. It has a place where it has gauges, or promises heartbeats."""
    fields, place = dict(zip(_METADATA, entry[8], strict=True)), entry[10]
    if (fields["gauges"] or fields["heartbeat"] is not None) and not place:
        raise ValueError(f"the entry {entry} has no place for its gauges and heartbeats")
    return int(place)


def plain_entry(row: Sequence[Any]) -> PlainEntry:
    """A decoded entry."""
    process_id, pid, started, inode, incarnation, registered_at, last_updated, revision, metadata, source = row[:10]
    fields = dict(zip(_METADATA, metadata, strict=True))
    for name in _SETS:
        if len(set(fields[name])) != len(fields[name]):
            raise ValueError(f"{name} names one thing twice: {fields[name]}")
        fields[name] = frozenset(fields[name])
    return PlainEntry(
        id=(process_id[0], process_id[1], process_id[2]),
        owner=(pid, started, inode),
        incarnation=incarnation,
        registered_at=registered_at,
        last_updated=last_updated,
        revision=revision,
        metadata=fields,
        source=source,
    )


def encoded_metadata(fields: Fields) -> int:
    """The size in bytes that metadata has when it is stored."""
    return len(msgspec.msgpack.encode([fields[name] for name in _METADATA]))


def encoded_entry(entry: PlainEntry) -> int:
    """The size in bytes that an entry has as a departure."""
    metadata = [entry.metadata[name] for name in _METADATA]
    times = [entry.registered_at, entry.last_updated]
    place = 4096 if entry.metadata["gauges"] else 0
    row = [entry.id, *entry.owner, entry.incarnation, *times, entry.revision, metadata, entry.source, place]
    # No claims, no owning member, no other host, no name for the cluster.
    return len(msgspec.msgpack.encode([*row, [], None, None, 0]))


def id_key(process_id: Id) -> bytes:
    return b"\x00".join(part.encode("utf-8") for part in process_id)


def expected_rows(entry: PlainEntry) -> set[tuple[str, bytes, int]]:
    """Every index row that an entry must have."""
    namespace, node, _ = (part.encode("utf-8") for part in entry.id)

    def key(value: str) -> bytes:
        return namespace + b"\x00" + value.encode("utf-8")

    number = entry.incarnation
    return {
        *(("by_capability", key(capability), number) for capability in entry.metadata["capabilities"]),
        ("by_type", key(entry.metadata["type"]), number),
        ("by_health", key(entry.metadata["health_status"]), number),
        ("by_node", namespace + b"\x00" + node, number),
        ("owners", b"".join(word.to_bytes(8, "big") for word in entry.owner), number),
    }


def reply(data: bytes) -> list[Any]:
    """A framed reply in plain data."""
    size = int.from_bytes(data[:4], "little")
    if len(data) != size + 4:
        raise ValueError(f"a frame of {size} bytes has {len(data) - 4}")
    decoded: list[Any] = _plain(data[4:])
    return decoded


def _gone(revision: int, row: bytes) -> PlainDeparture:
    entry, how, _, detection, exit = _plain(row)
    return PlainDeparture(revision, how, plain_entry(entry), detection, len(row), exit)


def _step(revision: int, row: bytes) -> tuple[int, str, int, int, PlainEntry | None]:
    kind = ("registered", "updated", "unregistered", "died", "lagged")[row[0]]
    return revision, kind, _number(row[1:9]), _number(row[9:17]), plain_entry(_plain(row[17:])) if row[17:] else None


def _waits(key: bytes, row: bytes) -> tuple[Id, bytes, int]:
    process_id, _owner, _fields, session, number, place, _everywhere, _waits, _replaces = _plain(row)
    id = (process_id[0], process_id[1], process_id[2])
    if key != id_key(id) + b"\x00" + place.to_bytes(8, "big"):
        raise ValueError(f"{id} is waited for at {place} under {key!r}")
    return id, session, number


def _plain(row: bytes) -> Any:
    return msgspec.msgpack.decode(row)


def _number(row: bytes) -> int:
    if len(row) != 8:
        raise ValueError(f"{row!r} is no number of 8 bytes")
    return int.from_bytes(row, "big")
