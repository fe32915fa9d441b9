"""The documents of the JSON API beside those of `adsum.views.documents`: lists, and the revision to go on from."""

from __future__ import annotations

import msgspec

from ..model import Entry, ProcessId
from ..views.documents import DepartureDocument, EntryDocument, Time, entry_document


class MembersDocument(msgspec.Struct, frozen=True):
    """The living members that match, `at` one time. `total` is their number, also where a limit left some out. Events
    after `revision`, of this `epoch`, are about changes that the list may not have. The epoch is a text of digits,
    because JavaScript would round the number."""

    at: Time
    revision: int
    epoch: str
    total: int
    members: list[EntryDocument]


class EncodedMembers(msgspec.Struct, frozen=True):
    """A `MembersDocument` of which the members are encoded already."""

    at: Time
    revision: int
    epoch: str
    total: int
    members: list[msgspec.Raw]


class EntryDocuments:
    """The documents of entries, encoded, as long as the entries do not change."""

    MAX_KEPT = 20_000

    def __init__(self) -> None:
        self._kept: dict[ProcessId, tuple[Entry, msgspec.Raw]] = {}

    def encoded(self, entry: Entry) -> msgspec.Raw:
        """The document of an entry."""
        kept = self._kept.get(entry.process_id)
        # Gauges and heartbeats change in shared memory, and not the entry.
        if kept is not None and kept[0] is entry and not entry.row_place:
            return kept[1]
        if len(self._kept) >= self.MAX_KEPT:
            self._kept.clear()
        made = msgspec.Raw(msgspec.json.encode(entry_document(entry)))
        self._kept[entry.process_id] = entry, made
        return made


class DeparturesDocument(msgspec.Struct, frozen=True):
    """How entries ended, the newest first. `total` is the number of those that match, also where a limit left some
    out; the registry keeps the last 1,000."""

    at: Time
    total: int
    departures: list[DepartureDocument]


class ErrorDocument(msgspec.Struct, frozen=True):
    """Why a request was refused: the stable word of the error, and what to do."""

    reason: str
    message: str
