"""What stands while a batch is decided, and what a request may take for granted of it.

Each question here is asked of the tables with the batch's own changes over them, and of the kernel at this very moment.
A requirement that does not hold raises, before the request that has it has changed anything.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import _wire as wire
from .._store.layout import Record, encode
from .._validation import MetadataFields, check_fields, check_limits, id_key, new_metadata
from ..errors import AdsumError, DeadProcess, NotRegistered, RegistryFull, Stale
from ..model import Entry, Kind, Limits, Metadata, Owner, ProcessId
from .batch import Clock, Kernel
from .draft import Draft, View, footprint
from .succession import Grant

# Bytes kept free below the memory limit: one group commit never allocates more than it was estimated to by this much.
HEADROOM = 128 * 1024


class Wanted(NamedTuple):
    """A registration that is ready to be added."""

    key: bytes
    process_id: ProcessId
    metadata: Metadata
    footprint: int


class Standing:
    """The registry as the batch has left it so far. `touched` are owners who may own nothing any more; `grants` what
    those who stood by are told."""

    def __init__(self, limits: Limits, kernel: Kernel, view: View, clock: Clock) -> None:
        self.limits = limits
        self.kernel = kernel
        self.clock = clock
        self.draft = Draft(view, clock.utc)
        self.touched: set[Owner] = set()
        self.grants: list[Grant] = []

    def bury(self, owner: Owner, how: str, detection: float = 0.0) -> None:
        """Remove everything a dead process owned: consecutive revisions, one commit, all or none."""
        self.touched.add(owner)
        owned = self.draft.owned(owner)
        for record in owned:
            self.draft.remove(record, Kind.died, how, detection)
        self.succeed(owned)

    def succeed(self, freed: list[Record]) -> None:
        """Ids that became free go to the first of those who stand by for them and live."""
        for record in freed:
            for waiting in self.draft.standing_by(key := id_key(record.entry.process_id)):
                self.draft.withdraw(waiting)
                self.touched.add(waiting.owner)
                # The dead are skipped; nobody is there to be told.
                if not self.kernel.watch(waiting.owner):
                    continue
                try:
                    wanted = self.prepare(waiting.process_id, waiting.fields)
                    self.require_room([wanted])
                except AdsumError as error:
                    self.grants.append(Grant(waiting, wire.failure(waiting.number, error)))
                    continue
                added = self.draft.add(key, waiting.process_id, waiting.owner, wanted.metadata, b"")
                self.grants.append(Grant(waiting, wire.Done(waiting.number, [added.entry])))
                break

    def appoint(self, record: Record) -> None:
        """An id was handed over. If its new holder stood by for it, this is what it waited for."""
        entry = record.entry
        mine = [one for one in self.draft.standing_by(id_key(entry.process_id)) if one.owner == entry.owner]
        for waiting in mine[:1]:
            self.draft.withdraw(waiting)
            self.grants.append(Grant(waiting, wire.Done(waiting.number, [entry])))

    def prepare(self, process_id: ProcessId, fields: MetadataFields) -> Wanted:
        """A new entry, complete and checked, but for whether its id is free and there is room."""
        key = id_key(process_id)
        check_fields(fields)
        metadata = new_metadata(fields, self.clock.utc)
        size = len(encode(metadata))
        check_limits(metadata, process_id.namespace, size, self.limits)
        return Wanted(key, process_id, metadata, footprint(key, metadata, size))

    def living(self, key: bytes) -> Record | None:
        """Who holds an id. A holder that the kernel says is dead is buried on the spot, with all it owned."""
        record = self.draft.record(key)
        if record is not None and not self.kernel.is_alive(record.entry.owner):
            self.bury(record.entry.owner, "replaced")
            # Whoever stood by for it holds it now.
            return self.draft.record(key)
        return record

    def held(self, process_id: ProcessId, if_incarnation: int | None) -> Record:
        record = self.living(id_key(process_id))
        if record is None:
            raise NotRegistered(f"{process_id} is not registered (or its process has died); register it first")
        self.require_incarnation(record.entry, if_incarnation)
        return record

    def require_incarnation(self, entry: Entry, wanted: int | None) -> None:
        if wanted is not None and wanted != entry.incarnation:
            raise Stale(
                f"{entry.process_id} is incarnation {entry.incarnation} now, held by process {entry.pid}, not "
                f"{wanted}: somebody else has registered it since; look it up again before you change it",
                entry=entry,
            )

    def require_alive(self, owner: Owner) -> None:
        self.touched.add(owner)
        if not self.kernel.watch(owner):
            raise DeadProcess(
                f"process {owner.pid} has exited, or its number belongs to another process by now; only a living "
                "process can be registered"
            )

    def require_room(self, prepared: list[Wanted]) -> None:
        most = self.limits.max_entries
        if most is not None and self.draft.entries + len(prepared) > most:
            raise RegistryFull(
                f"the registry holds {self.draft.entries} entries, {len(prepared)} more were asked for, max_entries is "
                f"{most}; unregister some, or make the registry with a larger Limits.max_entries"
            )
        self.require_memory(sum(wanted.footprint for wanted in prepared))

    def require_room_to_grow(self, entry: Entry, metadata: Metadata) -> None:
        grown = len(encode(metadata)) - len(encode(entry.metadata))
        if grown > 0:
            self.require_memory(grown)

    def require_memory(self, needed: int) -> None:
        """Room for `needed` bytes more, on top of what earlier requests of this batch took."""
        most = self.limits.max_memory_bytes
        bound = most - min(HEADROOM, most // 8) - needed
        if self.draft.bytes_used > bound and self.draft.measure() > bound:
            raise RegistryFull(
                f"the registry uses {self.draft.bytes_used} of {most} bytes; unregister some entries, store less "
                "metadata, or make the registry with a larger Limits.max_memory_bytes"
            )
        self.draft.stage(needed)
