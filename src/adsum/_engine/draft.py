"""The registry as it will be when a batch is committed.

A `Draft` lays the changes decided so far over the tables, so that the second request of a batch sees the changes of the
first, and nothing is written before the whole batch is decided.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from .._store.layout import (
    BeforeLate,
    Change,
    Record,
    RemoteRegistration,
    Standby,
    encode,
    key_of,
    lacks_exit,
    lacks_remote_exit,
)
from .._store.query import Query
from ..model import ClaimRecord, Departure, Entry, HealthSource, Kind, Metadata, Origin, Owner, OwningMember, ProcessId
from .free_rows import FreeMemberRows

# A departure keeps only the outline of an entry larger than this, which bounds the memory of the last departures.
MAX_DEPARTURE_BYTES = 4096


class View(Protocol):
    """The tables before the batch. `WriteTransaction` is one."""

    revision: int
    entries: int
    bytes_used: int

    @property
    def standby_count(self) -> int: ...

    def measure(self) -> int: ...
    def has_room(self, needed: int) -> bool: ...

    def record(self, key: bytes) -> Record | None: ...
    def owned(self, owner: Owner) -> list[Record]: ...
    def count_owned(self, owner: Owner) -> int: ...
    def candidates(self, query: Query) -> list[bytes]: ...
    def record_at(self, incarnation: bytes) -> Record: ...
    def standbys_of(self, key: bytes) -> list[Standby]: ...
    def all_standbys(self) -> Iterable[Standby]: ...
    def deaths_of(self, owner: Owner) -> list[tuple[int, Departure]]: ...
    def remote_deaths_of(self, registration: RemoteRegistration) -> list[tuple[int, Departure]]: ...


class Draft:
    """The changes of one batch, in order, and the registry as they leave it.

    `refreshed` holds, by key, the records that a heartbeat changed in their last health check and in nothing else;
    `amended`, by revision, the stored departures whose `exit` has become known.
    """

    def __init__(self, view: View, now: datetime, free_rows: FreeMemberRows) -> None:
        self.view = view
        self._now = now
        self._free_rows = free_rows
        self._given_rows = 0
        # Places of entries that this batch has ended: given again where there are no others.
        self._freed_places: list[int] = []
        # For entries with gauges that this batch has admitted, and not added yet.
        self.reserved_rows = 0
        self._records: dict[bytes, Record | None] = {}
        # By owner: the records that this batch gave it, and the incarnations of stored ones that it took away.
        self._gained: dict[Owner, dict[int, Record]] = {}
        self._lost: dict[Owner, set[int]] = {}
        self._staged_bytes = 0
        self.changes: list[Change] = []
        self.departures: list[tuple[int, Departure]] = []
        self.refreshed: dict[bytes, Record] = {}
        self.amended: dict[int, Departure] = {}
        self.queued: list[Standby] = []
        self.dequeued: list[Standby] = []
        self.revision = view.revision
        self.entries = view.entries

    # Memory

    @property
    def bytes_used(self) -> int:
        """An upper bound of the bytes in use. `measure` is exact, except for the bytes that this batch stages."""
        return self.view.bytes_used + self._staged_bytes

    def measure(self) -> int:
        return self.view.measure() + self._staged_bytes

    def has_room(self, needed: int) -> bool:
        """Whether the file system has room for `needed` bytes beside those that this batch stages. Twice, for a commit
        stores each entry a second time, in the receipt of its reply."""
        return self.view.has_room(2 * (self._staged_bytes + needed))

    @property
    def free_rows(self) -> int:
        """How many entries there is a row for."""
        return len(self._free_rows) - self._given_rows + len(self._freed_places)

    def stage(self, size: int) -> None:
        """Count `size` bytes that this batch will write."""
        self._staged_bytes += size

    # Records

    def record(self, key: bytes) -> Record | None:
        """The record under an id's key."""
        if key not in self._records:
            self._records[key] = self.view.record(key)
        return self._records[key]

    def owned(self, owner: Owner) -> list[Record]:
        """Every record of `owner`, in the order in which they were registered."""
        lost, gained = self._lost.get(owner, set()), self._gained.get(owner, {})
        stored = [record for record in self.view.owned(owner) if record.entry.incarnation not in lost]
        if self.refreshed:
            stored = [self.refreshed.get(key_of(record.entry.process_id), record) for record in stored]
        return sorted([*stored, *gained.values()], key=lambda record: record.entry.incarnation)

    def owns_nothing(self, owner: Owner) -> bool:
        gained, lost = len(self._gained.get(owner, ())), len(self._lost.get(owner, ()))
        return self.view.count_owned(owner) - lost + gained == 0

    def gaining_owners(self) -> list[Owner]:
        """The processes that own new and changed records."""
        return [owner for owner, records in self._gained.items() if records and owner.pid]

    def emptied_owners(self) -> list[Owner]:
        """The processes that lost their last record."""
        return [owner for owner in self._lost if owner.pid and not self._gained.get(owner) and self.owns_nothing(owner)]

    # Changes

    def add(
        self,
        key: bytes,
        process_id: ProcessId,
        owner: Owner,
        metadata: Metadata,
        session: bytes,
        source: HealthSource = HealthSource.process,
        owned_by: OwningMember | None = None,
        *,
        token: int = 0,
    ) -> Entry:
        """A new registration. `source` is that of its health status; `token` that of its name in the whole cluster."""
        self.revision += 1
        now, place = self._now, self._row_place(metadata)
        entry = Entry(
            process_id,
            *owner,
            self.revision,
            now,
            now,
            self.revision,
            metadata,
            source,
            row_place=place,
            owned_by=owned_by,
            fencing_token=token,
        )
        self._change(key, Kind.registered, None, Record(entry, session))
        return entry

    def _row_place(self, metadata: Metadata) -> int:
        """A row for what a new entry writes into shared memory; 0 where it writes nothing. Without a row its heartbeats
        are requests, and its gauges have none: see `Admission.require_room`."""
        if metadata.gauges:
            self.reserved_rows -= 1
        elif metadata.heartbeat is None or self.free_rows <= self.reserved_rows:
            return 0
        if self._given_rows >= len(self._free_rows):
            return self._freed_places.pop()
        self._given_rows += 1
        return self._free_rows.place(self._given_rows - 1)

    def put_remote(self, key: bytes, before: Record | None, remote: Entry, origin: Origin) -> Entry:
        """An entry of another host, as it is there, and under a number of this registry. `before` is the record of the
        same registration that it replaces."""
        self.revision += 1
        entry = self._mirrored(remote, self.revision if before is None else before.entry.incarnation, origin)
        kind = Kind.registered if before is None else Kind.updated
        self._change(key, kind, before, Record(entry))
        return entry

    def hand_over_remote(self, key: bytes, before: Record, remote: Entry, origin: Origin) -> Entry:
        """An entry of another host whose id was handed over to another process there."""
        self.revision += 1
        entry = self._mirrored(remote, self.revision, origin)
        self._depart(before.entry, "handed_over", 0.0)
        self._change(key, Kind.updated, before, Record(entry))
        return entry

    def _mirrored(self, remote: Entry, incarnation: int, origin: Origin) -> Entry:
        return msgspec.structs.replace(
            remote,
            incarnation=incarnation,
            revision=self.revision,
            row_place=0,
            # Of processes of the other host.
            owned_by=None,
            origin=origin,
        )

    def note_host(self, kind: Kind, host: str) -> None:
        """A change of a host of the cluster, which changes no entry."""
        self.revision += 1
        self.changes.append(Change(kind, self.revision, host.encode(), None, None))

    def replace(
        self, before: Record, metadata: Metadata, source: HealthSource, before_late: BeforeLate | None
    ) -> Entry:
        """An update. A wall clock set back never makes an entry older than its registration."""
        self.revision += 1
        entry = msgspec.structs.replace(
            before.entry,
            metadata=metadata,
            revision=self.revision,
            last_updated=max(self._now, before.entry.registered_at),
            health_source=source,
            row_place=before.entry.row_place or self._row_place(metadata),
        )
        self._change(key_of(entry.process_id), Kind.updated, before, Record(entry, before.session, before_late))
        return entry

    def put_claims(self, before: Record, claims: tuple[ClaimRecord, ...]) -> Entry:
        """A claim began or ended."""
        return self._put_from_outside(before, claims=claims)

    def put_owning_member(self, before: Record, owned_by: OwningMember) -> Entry:
        """The member that owns an entry is another process's now."""
        return self._put_from_outside(before, owned_by=owned_by)

    def put_token(self, before: Record, token: int) -> Entry:
        """The name of an entry in the whole cluster has another token."""
        return self._put_from_outside(before, fencing_token=token)

    def _put_from_outside(self, before: Record, **changes: Any) -> Entry:
        """An update in which the member itself has changed nothing: the source of its health stays."""
        self.revision += 1
        updated = max(self._now, before.entry.registered_at)
        entry = msgspec.structs.replace(before.entry, **changes, revision=self.revision, last_updated=updated)
        after = Record(entry, before.session, before.before_late)
        self._change(key_of(entry.process_id), Kind.updated, before, after)
        return entry

    def refresh(self, before: Record, metadata: Metadata) -> Entry:
        """A heartbeat: `metadata` differs in its last health check alone, so this is no change of the registry."""
        entry = msgspec.structs.replace(before.entry, metadata=metadata)
        after = Record(entry, before.session, before.before_late)
        key = key_of(entry.process_id)
        self._records[key] = self.refreshed[key] = after
        if entry.incarnation in self._gained.get(entry.owner, {}):
            self._gained[entry.owner][entry.incarnation] = after
        return entry

    def transfer(self, before: Record, owner: Owner, gauges: Mapping[str, float]) -> Entry:
        """Another process takes the id, under a new incarnation, with these values of its gauges."""
        self.revision += 1
        # The old owner's missed heartbeats are not the new one's, nor is its word on the health.
        basis, id, now = without_lateness(before).entry, before.entry.process_id, self._now
        metadata = basis.metadata
        if metadata.gauges:
            metadata = msgspec.structs.replace(metadata, gauges={**metadata.gauges, **gauges})
        is_word = owner != basis.owner and basis.health_said_by is HealthSource.process
        source = HealthSource.other if is_word else basis.health_source
        entry = Entry(id, *owner, self.revision, now, now, self.revision, metadata, source)
        # It keeps the row. Its pairs have another key from now on, as it is another incarnation.
        # Its claims stay: otherwise a new claimer would have a slot beside one that believes to hold it.
        # So does its name in the whole cluster.
        kept = {"row_place": before.entry.row_place, "claims": before.entry.claims}
        entry = msgspec.structs.replace(entry, **kept, fencing_token=-abs(before.entry.fencing_token))
        entry = msgspec.structs.replace(entry, owned_by=before.entry.owned_by)
        self._depart(before.entry, "handed_over", 0.0)
        self._change(key_of(id), Kind.updated, before, Record(entry))
        return entry

    def remove(self, before: Record, kind: Kind, how: str, detection: float = 0.0, exit: int | None = None) -> None:
        self.revision += 1
        self._depart(before.entry, how, detection, exit)
        self._change(key_of(before.entry.process_id), kind, before, None)

    def _change(self, key: bytes, kind: Kind, before: Record | None, after: Record | None) -> None:
        self.changes.append(change := Change(kind, self.revision, key, before, after))
        if (ended := change.ended_row) is not None:
            self._freed_places.append(ended.row_place)
        self._records[key] = after
        # `before` includes the refreshed health check of a heartbeat earlier in the batch.
        self.refreshed.pop(key, None)
        if before is not None:
            incarnation, owner = before.entry.incarnation, before.entry.owner
            if self._gained.get(owner, {}).pop(incarnation, None) is None:
                self._lost.setdefault(owner, set()).add(incarnation)
        if after is not None:
            self._gained.setdefault(after.entry.owner, {})[after.entry.incarnation] = after
        self.entries += (after is not None) - (before is not None)

    def _depart(self, entry: Entry, how: str, detection: float, exit: int | None = None) -> None:
        if len(encode(entry)) > MAX_DEPARTURE_BYTES:
            full = entry.metadata
            outline = Metadata(
                type=full.type,
                health_status=full.health_status,
                created_at=full.created_at,
                last_health_check=full.last_health_check,
            )
            entry = msgspec.structs.replace(entry, metadata=outline, claims=())
        self.departures.append((self.revision, Departure(entry, how, self._now, detection, exit)))

    def note_exit(self, owner: Owner, code: int) -> bool:
        """The dead process `owner` ended with this code: note it with the departures of its death that lack one.
        Whether there were any."""
        return self._amend(lambda one: lacks_exit(one, owner), self.view.deaths_of(owner), code)

    def note_remote_exit(self, registration: RemoteRegistration, code: int) -> bool:
        """`note_exit`, of the process of a registration in another registry."""
        lacks = functools.partial(lacks_remote_exit, registration=registration)
        return self._amend(lacks, self.view.remote_deaths_of(registration), code)

    def _amend(self, lacks: Callable[[Departure], bool], stored: Iterable[tuple[int, Departure]], code: int) -> bool:
        amended = False
        for index, (revision, departure) in enumerate(self.departures):
            if lacks(departure):
                self.departures[index] = revision, msgspec.structs.replace(departure, exit=code)
                amended = True
        for revision, departure in stored:
            if revision not in self.amended:
                self.amended[revision] = msgspec.structs.replace(departure, exit=code)
                amended = True
        return amended

    # Standbys

    @property
    def standby_count(self) -> int:
        return self.view.standby_count + len(self.queued) - len(self.dequeued)

    def standbys_of(self, key: bytes) -> list[Standby]:
        """The standbys of an id, in the order of their positions."""
        if not self.standby_count:
            return []
        queued = [one for one in self.queued if key_of(one.process_id) == key]
        return [one for one in [*self.view.standbys_of(key), *queued] if one not in self.dequeued]

    def standbys_in(self, session: bytes) -> list[Standby]:
        """The standbys of one session, for any id."""
        if not self.standby_count:
            return []
        standbys = [*self.view.all_standbys(), *self.queued]
        return [one for one in standbys if one.session == session and one not in self.dequeued]

    def queue(self, standby: Standby) -> None:
        self.queued.append(standby)

    def dequeue(self, standby: Standby) -> None:
        self.dequeued.append(standby)


def without_lateness(record: Record) -> Record:
    """The record as it was before the registrar noted a missed heartbeat."""
    if record.before_late is None:
        return record
    status, source = record.before_late
    metadata = msgspec.structs.replace(record.entry.metadata, health_status=status)
    return Record(msgspec.structs.replace(record.entry, metadata=metadata, health_source=source), record.session)
