"""Table format 1, of adsum 0.1, as far as a migration needs it. Frozen: tables of this format do not change any more.

Format 2 has all tables of format 1, with the same keys, and the same rows but for two tables, and a few tables more. In
``entries`` a row of format 1 is one array: the ten fields of the entry, then the session and the health before a missed
heartbeat. In ``history`` the before-image is such a row. The rows of ``departures`` and ``standbys`` are equal in both
formats.
"""

from __future__ import annotations

import struct

import msgspec

from ..model import ProcessId

TABLES = (
    *("ids", "entries", "departures", "history", "receipts", "standbys", "meta"),
    *("by_capability", "by_type", "by_health", "by_node", "owners"),
)
ENTRY_FIELDS = 10
_history_head = struct.Struct(">BQQ")
# Raw: the fields are carried over as the bytes that they are, times and extensions included.
_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.msgpack.Encoder().encode


class _EntryHead(msgspec.Struct, array_like=True):
    process_id: ProcessId


_decode_identified = msgspec.msgpack.Decoder(_EntryHead).decode


def process_id_of(row: bytes) -> ProcessId:
    """The id in a row of ``entries``."""
    return _decode_identified(row).process_id


def entries_row(row: bytes) -> bytes:
    """A row of ``entries`` in format 2: the entry as an array of its own, then the private fields."""
    fields = _decode_fields(row)
    return _encode([fields[:ENTRY_FIELDS], *fields[ENTRY_FIELDS:]])


def history_row(row: bytes) -> bytes:
    """A row of ``history`` in format 2: the before-image is the entry alone."""
    head, before = row[: _history_head.size], row[_history_head.size :]
    return head + (_encode(_decode_fields(before)[:ENTRY_FIELDS]) if before else b"")
