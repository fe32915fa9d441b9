"""The registry as it will be when a batch is committed.

A `Draft` lays the changes decided so far over the tables, so that the second request of a batch sees what the first
did, and nothing is written before all is decided.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from .._store.layout import Change, Record, encode, key_of
from ..model import Departure, Entry, Kind, Metadata, Owner, ProcessId

# What a departure keeps of an entry larger than this is only its outline, which bounds the ring's memory.
MAX_DEPARTURE_BYTES = 4096
_ENTRY_FIELDS = Entry.__struct_fields__


class View(Protocol):
    """What stands before the batch. `WriteTransaction` is one."""

    revision: int
    entries: int
    bytes_used: int

    def record(self, key: bytes) -> Record | None: ...
    def owned(self, owner: Owner) -> list[Record]: ...


class Draft:
    """The changes of one batch, in order, and the registry as they leave it."""

    def __init__(self, view: View, now: datetime) -> None:
        self._view = view
        self._now = now
        self._records: dict[bytes, Record | None] = {}
        self._owned: dict[Owner, dict[int, Record]] = {}
        self.changes: list[Change] = []
        self.departures: list[tuple[int, Departure]] = []
        self.revision = view.revision
        self.entries = view.entries
        self.bytes_used = view.bytes_used

    def record(self, key: bytes) -> Record | None:
        if key not in self._records:
            self._records[key] = self._view.record(key)
        return self._records[key]

    def owned(self, owner: Owner) -> list[Record]:
        return list(self._of(owner).values())

    def add(self, process_id: ProcessId, owner: Owner, metadata: Metadata, session: bytes) -> Record:
        """A new registration."""
        self.revision += 1
        record = Record(
            process_id, *owner, self.revision, self._now, self._now, self.revision, metadata, session=session
        )
        self._changed(Kind.registered, None, record)
        return record

    def replace(self, before: Record, metadata: Metadata) -> Record:
        """An update. A wall clock set back never makes an entry older than its registration."""
        self.revision += 1
        after = msgspec.structs.replace(
            before, metadata=metadata, revision=self.revision, last_updated=max(self._now, before.registered_at)
        )
        self._changed(Kind.updated, before, after)
        return after

    def transfer(self, before: Record, owner: Owner) -> Record:
        """Another process takes the id, under a new incarnation."""
        self.revision += 1
        after = Record(
            before.process_id, *owner, self.revision, self._now, self._now, self.revision, before.metadata
        )
        self._depart(before, "handed_over", 0.0)
        self._changed(Kind.handed_over, before, after)
        return after

    def remove(self, before: Record, kind: Kind, how: str, detection: float = 0.0) -> None:
        self.revision += 1
        self._depart(before, how, detection)
        self._changed(kind, before, None)

    def _changed(self, kind: Kind, before: Record | None, after: Record | None) -> None:
        self.changes.append(Change(kind, self.revision, before, after))
        if before is not None:
            self._of(before.owner).pop(before.incarnation, None)
            self._records[key_of(before.process_id)] = None
            self.bytes_used -= footprint(before)
        if after is not None:
            self._of(after.owner)[after.incarnation] = after
            self._records[key_of(after.process_id)] = after
            self.bytes_used += footprint(after)
        self.entries += (after is not None) - (before is not None)

    def _of(self, owner: Owner) -> dict[int, Record]:
        if owner not in self._owned:
            self._owned[owner] = {record.incarnation: record for record in self._view.owned(owner)}
        return self._owned[owner]

    def _depart(self, record: Record, how: str, detection: float) -> None:
        entry = Entry(*(getattr(record, name) for name in _ENTRY_FIELDS))
        if len(encode(entry)) > MAX_DEPARTURE_BYTES:
            full = entry.metadata
            outline = Metadata(
                type=full.type,
                health_status=full.health_status,
                created_at=full.created_at,
                last_health_check=full.last_health_check,
            )
            entry = msgspec.structs.replace(entry, metadata=outline)
        self.departures.append((self.revision, Departure(entry, how, self._now, detection)))


def footprint(record: Record) -> int:
    """About how many bytes of table pages a record will take, index rows included; never much too few.

    A row longer than half a page takes whole pages of its own in LMDB; shorter rows share pages that are full in the
    appended table and about two thirds full in the others.
    """
    size = len(encode(record)) + 24
    pages = -(-size // 4096) * 4096 if size > 2000 else size * 5 // 4
    return pages + 2 * (len(key_of(record.process_id)) + 24) + 24 * (len(record.metadata.capabilities) + 4)
