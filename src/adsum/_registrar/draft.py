"""The registry as it will be when a batch is committed.

A `Draft` lays the changes decided so far over the tables, so that the second request of a batch sees what the first
did, and nothing is written before all is decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import msgspec

from .._store.layout import BeforeLate, Change, Record, Standby, encode, key_of
from ..model import Departure, Entry, HealthSource, Kind, Metadata, Owner, ProcessId

# What a departure keeps of an entry larger than this is only its outline, which bounds the ring's memory.
MAX_DEPARTURE_BYTES = 4096


class View(Protocol):
    """What stands before the batch. `WriteTransaction` is one."""

    revision: int
    entries: int
    bytes_used: int

    @property
    def standbys(self) -> int: ...

    def measure(self) -> int: ...

    def record(self, key: bytes) -> Record | None: ...
    def owned(self, owner: Owner) -> list[Record]: ...
    def count_owned(self, owner: Owner) -> int: ...
    def standing_by(self, key: bytes) -> list[Standby]: ...
    def all_standing_by(self) -> Iterable[Standby]: ...


class Draft:
    """The changes of one batch, in order, and the registry as they leave it."""

    def __init__(self, view: View, now: datetime) -> None:
        self._view = view
        self._now = now
        self._records: dict[bytes, Record | None] = {}
        self._gained: dict[Owner, dict[int, Record]] = {}
        self._lost: dict[Owner, set[int]] = {}
        self.changes: list[Change] = []
        self.departures: list[tuple[int, Departure]] = []
        self.touched: dict[bytes, Record] = {}
        self.signs: list[int] = []
        self.joined: list[Standby] = []
        self.withdrawn: list[Standby] = []
        self.revision = view.revision
        self.entries = view.entries
        self._staged_bytes = 0

    @property
    def bytes_used(self) -> int:
        """At most so many bytes are in use; `measure` says it exactly, but for what this batch stages."""
        return self._view.bytes_used + self._staged_bytes

    def measure(self) -> int:
        return self._view.measure() + self._staged_bytes

    def stage(self, size: int) -> None:
        self._staged_bytes += size

    def record(self, key: bytes) -> Record | None:
        if key not in self._records:
            self._records[key] = self._view.record(key)
        return self._records[key]

    def owned(self, owner: Owner) -> list[Record]:
        """Every record of `owner`, in the order in which they were registered."""
        lost, gained = self._lost.get(owner, set()), self._gained.get(owner, {})
        stored = [self._signed(record) for record in self._view.owned(owner) if record.entry.incarnation not in lost]
        return sorted([*stored, *gained.values()], key=lambda record: record.entry.incarnation)

    def _signed(self, record: Record) -> Record:
        """A stored record with the sign of life that came for it in this batch."""
        return self.touched.get(key_of(record.entry.process_id), record) if self.touched else record

    def owns_nothing(self, owner: Owner) -> bool:
        gained, lost = len(self._gained.get(owner, ())), len(self._lost.get(owner, ()))
        return self._view.count_owned(owner) - lost + gained == 0

    def add(self, key: bytes, process_id: ProcessId, owner: Owner, metadata: Metadata, session: bytes) -> Record:
        """A new registration."""
        self.revision += 1
        entry = Entry(process_id, *owner, self.revision, self._now, self._now, self.revision, metadata)
        record = Record(entry, session)
        self._changed(key, Kind.registered, None, record)
        return record

    def replace(
        self, before: Record, metadata: Metadata, source: HealthSource, before_late: BeforeLate | None
    ) -> Record:
        """An update. A wall clock set back never makes an entry older than its registration."""
        self.revision += 1
        entry = msgspec.structs.replace(
            before.entry,
            metadata=metadata,
            revision=self.revision,
            last_updated=max(self._now, before.entry.registered_at),
            health_source=source,
        )
        after = Record(entry, before.session, before_late)
        self._changed(key_of(entry.process_id), Kind.updated, before, after)
        return after

    def touch(self, before: Record, metadata: Metadata) -> Record:
        """A sign of life: the time of the last check moves on, and nothing else; it is no change of the registry."""
        entry = msgspec.structs.replace(before.entry, metadata=metadata)
        after = Record(entry, before.session, before.before_late)
        key = key_of(entry.process_id)
        self._records[key] = self.touched[key] = after
        if entry.incarnation in self._gained.get(entry.owner, {}):
            self._gained[entry.owner][entry.incarnation] = after
        return after

    def transfer(self, before: Record, owner: Owner) -> Record:
        """Another process takes the id, under a new incarnation."""
        self.revision += 1
        # That a sign of life was missing is over with the one who missed it.
        basis, id, now = forgiven(before).entry, before.entry.process_id, self._now
        entry = Entry(id, *owner, self.revision, now, now, self.revision, basis.metadata, basis.health_source)
        after = Record(entry)
        self._depart(before.entry, "handed_over", 0.0)
        self._changed(key_of(id), Kind.updated, before, after)
        return after

    def remove(self, before: Record, kind: Kind, how: str, detection: float = 0.0) -> None:
        self.revision += 1
        self._depart(before.entry, how, detection)
        self._changed(key_of(before.entry.process_id), kind, before, None)

    # Those who stand by

    @property
    def standbys(self) -> int:
        return self._view.standbys + len(self.joined) - len(self.withdrawn)

    def standing_by(self, key: bytes) -> list[Standby]:
        """Who waits for an id, first come first."""
        if not self.standbys:
            return []
        joined = [one for one in self.joined if key_of(one.process_id) == key]
        return [one for one in [*self._view.standing_by(key), *joined] if one not in self.withdrawn]

    def standing_by_in(self, session: bytes) -> list[Standby]:
        """For what a session waits."""
        if not self.standbys:
            return []
        waiting = [*self._view.all_standing_by(), *self.joined]
        return [one for one in waiting if one.session == session and one not in self.withdrawn]

    def join(self, one: Standby) -> None:
        self.joined.append(one)

    def withdraw(self, one: Standby) -> None:
        self.withdrawn.append(one)

    def _changed(self, key: bytes, kind: Kind, before: Record | None, after: Record | None) -> None:
        self.changes.append(Change(kind, self.revision, key, before, after))
        self._records[key] = after
        # The change holds what a sign earlier in the batch moved.
        self.touched.pop(key, None)
        if before is not None:
            ended, owner = before.entry.incarnation, before.entry.owner
            if self._gained.get(owner, {}).pop(ended, None) is None:
                self._lost.setdefault(owner, set()).add(ended)
        if after is not None:
            self._gained.setdefault(after.entry.owner, {})[after.entry.incarnation] = after
        self.entries += (after is not None) - (before is not None)

    def _depart(self, entry: Entry, how: str, detection: float) -> None:
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


def footprint(key: bytes, metadata: Metadata, size: int) -> int:
    """About how many bytes of table pages an entry will take, index rows included; never much too few.

    `size` is the encoded metadata's. A row longer than half a page takes whole pages of its own in LMDB; shorter rows
    share pages that are full in the appended table and about two thirds full in the others.
    """
    row = len(key) + size + 96
    pages = -(-row // 4096) * 4096 if row > 2000 else row * 5 // 4
    return pages + 2 * (len(key) + 24) + 24 * (len(metadata.capabilities) + 4)


def forgiven(record: Record) -> Record:
    """The entry without what the registrar said of it for want of a sign of life."""
    if record.before_late is None:
        return record
    status, source = record.before_late
    metadata = msgspec.structs.replace(record.entry.metadata, health_status=status)
    return Record(msgspec.structs.replace(record.entry, metadata=metadata, health_source=source), record.session)
