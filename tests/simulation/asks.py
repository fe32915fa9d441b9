"""Requests of simulated clients: in plain data, and as the registrar gets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from adsum import _wire as wire
from adsum._amendment import MergeFields
from adsum._engine.batch import Call
from adsum._validation import MetadataFields
from adsum.model import Owner, ProcessId

Id: TypeAlias = "tuple[str, str, str]"
Fields: TypeAlias = "dict[str, Any]"


Kind: TypeAlias = Literal[
    "register",
    "update",
    "amend",
    "update_many",
    "unregister",
    "unregister_many",
    "hand_over",
    "heartbeat",
    "stand_by",
    "cancel",
    "exit_of",
]

NOBODY = Owner(0, 0, 0)


class Item(msgspec.Struct, frozen=True):
    """An id and metadata fields; `flaw` is the reason for which they have to be refused, None where they are sound."""

    id: Id
    fields: Fields = {}
    flaw: str | None = None


@dataclass(frozen=True)
class Ask:
    """One request of one session, which is `caller`'s. `stand_by` is the number of the request that is cancelled;
    `code` is the exit of a process; `merged`, `added` and `if_revision` are those of an amendment."""

    kind: Kind
    session: bytes
    number: int
    deadline: int
    items: tuple[Item, ...]
    owner: Owner = NOBODY
    bound: bool = False
    or_get: bool = False
    checked: bool = False
    if_incarnation: int | None = None
    caller: Owner | None = None
    stand_by: int = 0
    code: int = 0
    merged: Fields = field(default_factory=dict)
    added: dict[str, int | float] = field(default_factory=dict)
    if_revision: int | None = None

    @property
    def name(self) -> tuple[bytes, int]:
        """Session and number, by which a repeated request is recognised."""
        return self.session, self.number

    def call(self) -> Call:
        """The request as it comes off the socket. No client has checked it: flaws arrive with it."""
        sent = msgspec.msgpack.encode(wire.Envelope(self.number, self.deadline, self._request()))
        envelope = wire.decode_envelope(sent)
        return Call(self.session, envelope.number, envelope.deadline, envelope.request, self.caller)

    def _request(self) -> wire.AnyRequest:
        first = self.items[0]
        process_id, fields = ProcessId(*first.id), MetadataFields(**first.fields)
        match self.kind:
            case "register":
                items = [(ProcessId(*item.id), MetadataFields(**item.fields)) for item in self.items]
                return wire.Register(
                    owner=self.owner,
                    items=items,
                    bound=self.bound,
                    or_get=self.or_get,
                )
            case "update":
                return wire.Update(
                    process_id=process_id,
                    fields=fields,
                    if_incarnation=self.if_incarnation,
                    checked=self.checked,
                )
            case "unregister":
                return wire.Unregister(process_id=process_id, if_incarnation=self.if_incarnation)
            case "hand_over":
                return wire.HandOver(
                    process_id=process_id,
                    owner=self.owner,
                    if_incarnation=self.if_incarnation or 0,
                )
            case "heartbeat":
                return wire.Heartbeat(
                    process_id=process_id,
                    owner=self.owner,
                    if_incarnation=self.if_incarnation,
                )
            case "stand_by":
                return wire.StandBy(process_id=process_id, owner=self.owner, fields=fields)
            case "cancel":
                return wire.Cancel(stand_by=self.stand_by)
            case "exit_of":
                return wire.ExitOf(owner=self.owner, code=self.code)
            case _:
                return self._amendment_or_many()

    def _amendment_or_many(self) -> wire.AnyRequest:
        ids = [ProcessId(*item.id) for item in self.items]
        fields = [MetadataFields(**item.fields) for item in self.items]
        match self.kind:
            case "amend":
                return wire.Amend(
                    process_id=ids[0],
                    fields=fields[0],
                    if_incarnation=self.if_incarnation,
                    if_revision=self.if_revision,
                    merged=MergeFields(**self.merged),
                    added=self.added,
                )
            case "update_many":
                return wire.UpdateMany(items=list(zip(ids, fields, strict=True)))
            case _:
                # The condition is on the first one alone.
                conditions = [self.if_incarnation, *[None] * len(ids)]
                return wire.UnregisterMany(items=list(zip(ids, conditions, strict=False)))
