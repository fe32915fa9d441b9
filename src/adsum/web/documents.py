"""The documents of the JSON API beside those of `adsum.views.documents`: lists, and the revision to go on from."""

from __future__ import annotations

import msgspec

from ..views.documents import DepartureDocument, EntryDocument, Time


class MembersDocument(msgspec.Struct, frozen=True):
    """The living members that match, `at` one time. `total` is their number, also where a limit left some out. Events
    after `revision`, of this `epoch`, are about changes that the list may not have."""

    at: Time
    revision: int
    epoch: int
    total: int
    members: list[EntryDocument]


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
