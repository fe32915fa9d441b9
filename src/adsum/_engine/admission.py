"""Admission: new and updated entries keep the limits, and there is room for them.

A check that fails raises before its request has changed anything.
"""

from collections.abc import Sequence

import msgspec

from .._store.layout import encode
from .._store.page_layout import MEMBER_ROWS
from .._validation import MetadataFields, check_fields, check_limits, id_key, new_metadata
from ..errors import InvalidProcessId, RegistryFull
from ..model import Entry, Limits, Metadata, OwningMember, ProcessId
from .batch import Instant
from .draft import Draft
from .known_hosts import KnownHosts

# Bytes kept free below the memory limit: one group commit never allocates more than it was estimated to by this much.
HEADROOM = 128 * 1024
# What the record of a claim adds to the row of an entry, at most.
CLAIM_BYTES = 64
# An index row under a key of its own, and that key.
OWN_ROW_BYTES = 512


class NewEntry(msgspec.Struct, frozen=True):
    """A registration that is ready to be added."""

    key: bytes
    process_id: ProcessId
    metadata: Metadata
    footprint: int


class NewMetadata(msgspec.Struct, frozen=True):
    """The new metadata of an entry, which may grow freely or only where there is room."""

    entry: Entry
    metadata: Metadata
    may_grow: bool


class Admission:
    """The checks of one batch, which count the room that it has taken so far."""

    def __init__(self, limits: Limits, draft: Draft, now: Instant, node: str, hosts: KnownHosts) -> None:
        self._limits = limits
        self._hosts = hosts
        self._node = node
        self._draft = draft
        self._now = now

    def prepare(self, process_id: ProcessId, fields: MetadataFields, owned_by: OwningMember | None = None) -> NewEntry:
        """A new entry, complete and checked. Whether its id is free, and whether there is room, is checked apart.

        An id without a node (`wire.NODE_OF_REGISTRY`) gets the registry's own.
        """
        if not process_id.node:
            process_id = process_id._replace(node=self._node)
        key = id_key(process_id)
        if (host := self._hosts.of_node(process_id.node)) is not None:
            raise InvalidProcessId(
                f"{process_id}: the node {process_id.node!r} belongs to the host {host!r} of the cluster; register "
                "under a node of this host"
            )
        check_fields(fields)
        metadata = new_metadata(fields, self._now.utc)
        size = len(encode(metadata))
        check_limits(metadata, process_id.namespace, size, self._limits)
        if owned_by is not None:
            size += len(encode(owned_by))
        return NewEntry(key, process_id, metadata, footprint(key, metadata, size, len(self._limits.indexed)))

    def check_update(self, entry: Entry, metadata: Metadata, *, may_grow: bool) -> None:
        """Require that `metadata` keeps the limits and, unless it `may_grow` freely, that there is room for it."""
        self.check_updates([NewMetadata(entry, metadata, may_grow)])

    def check_updates(self, updates: Sequence[NewMetadata]) -> None:
        """`check_update` for several entries at once: they grow together, or not at all."""
        grown = 0
        for update in updates:
            size = len(encode(update.metadata))
            check_limits(update.metadata, update.entry.process_id.namespace, size, self._limits)
            if not update.may_grow:
                grown += max(0, size - len(encode(update.entry.metadata)))
        if grown:
            self._require_memory(grown)

    def require_room(self, prepared: list[NewEntry], replaced: Sequence[tuple[Entry, NewEntry]] = ()) -> None:
        """Require room for these entries, and count it as taken. Those in `replaced` take the rows of the entries that
        they replace."""
        most = self._limits.max_entries
        own_entries = self._draft.entries - self._hosts.entries
        if most is not None and own_entries + len(prepared) > most:
            raise RegistryFull(
                f"the registry holds {own_entries} entries, {len(prepared)} more were asked for, max_entries "
                f"is {most}; unregister some, or make the registry with a larger Limits.max_entries"
            )
        with_gauges = len([new for new in prepared if new.metadata.gauges])
        with_gauges += len([new for _, new in replaced if new.metadata.gauges])
        if with_gauges:
            self._require_rows(with_gauges, len([entry for entry, _ in replaced if entry.row_place]))
        self._require_memory(sum([new.footprint for new in prepared]))
        self._draft.reserved_rows = with_gauges

    def _require_rows(self, with_gauges: int, replaced: int) -> None:
        """Require rows for so many members with gauges, where so many rows of entries that are replaced become free."""
        free = self._draft.free_rows + replaced
        if with_gauges > free:
            raise RegistryFull(
                f"{with_gauges} members with gauges were asked for, and the registry has room for {free} more of them "
                f"({MEMBER_ROWS} in all); register without gauges=, or unregister some that have them"
            )

    def require_room_for_remote(self, key: bytes, entry: Entry, before: Entry | None) -> None:
        """Require that the entry of another host keeps the limits, and that there is room for it, which counts as
        taken. Half of the memory is for members of this registry."""
        metadata = entry.metadata
        size = len(encode(metadata))
        check_limits(metadata, entry.process_id.namespace, size, self._limits)
        grown = size if before is None else max(0, size - len(encode(before.metadata)))
        if before is None:
            grown = footprint(key, metadata, size, len(self._limits.indexed))
        most = self._limits.max_memory_bytes // 2
        if self._draft.bytes_used + grown > most and self._draft.measure() + grown > most:
            raise RegistryFull(
                f"half of the registry's {self._limits.max_memory_bytes} bytes are in use, and entries of other hosts "
                "get no more; make it with a larger Limits.max_memory_bytes"
            )
        self._require_memory(grown)

    def require_room_for_claim(self) -> None:
        """Require room for one more claim, and count it as taken."""
        self._require_memory(CLAIM_BYTES)

    def _require_memory(self, needed: int) -> None:
        most = self._limits.max_memory_bytes
        bound = most - min(HEADROOM, most // 8) - needed
        if self._draft.bytes_used > bound and self._draft.measure() > bound:
            raise RegistryFull(
                f"the registry uses {self._draft.bytes_used} of {most} bytes; unregister some entries, store less "
                "metadata, or make the registry with a larger Limits.max_memory_bytes"
            )
        if not self._draft.has_room(needed):
            raise RegistryFull(
                f"the file system of the registry's folder has no room for {needed} bytes more; free space there, or "
                "make that tmpfs larger (adsum doctor names it). Entries can still be unregistered"
            )
        self._draft.stage(needed)


def footprint(key: bytes, metadata: Metadata, size: int, indexed: int = 0) -> int:
    """The bytes of table pages that an entry will take, index rows included: an upper bound, except by a few bytes.

    `size` is the encoded metadata's. A row longer than half a page takes whole pages of its own in LMDB; shorter rows
    share pages that are full in the appended table and about two thirds full in the others. The rows of `indexed` names
    of own data may have keys of their own.
    """
    row = len(key) + size + 96
    pages = -(-row // 4096) * 4096 if row > 2000 else row * 5 // 4
    return pages + 2 * (len(key) + 24) + 24 * (len(metadata.capabilities) + 4) + OWN_ROW_BYTES * indexed
