"""Succession: the queue of standbys before an id, and which of them gets the id when it is free.

Standbys are rows of the tables, ordered by position, so they outlive a registrar. In the very commit that frees an id
it goes to the first standby whose process is alive: between two holders no other process can take it, and no reader
finds it free. A standby is bound to the session that asked: it ends with the process, or when the registry is closed
there.

The answer to a standby comes in two parts: `Queued` at once, and a `Grant` when it holds the id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from .. import _wire as wire
from .._store.layout import Record, Standby, key_of
from .._validation import id_key
from ..errors import AdsumError, AlreadyRegistered, SystemBusy
from ..model import Entry, Owner, ProcessId
from .admission import Admission
from .batch import Call, Grant
from .draft import Draft
from .reservations import Reservation

MAX_STANDBYS = 4096


class Holders(Protocol):
    """The part of a `Round` that knows the holders of ids."""

    def live_holder(self, key: bytes) -> Record | None: ...
    def require_alive(self, owner: Owner) -> None: ...
    def reservation_of(self, key: bytes, *owners: Owner | None) -> Reservation | None: ...


class Succession:
    """The queues of one batch, at the monotonic time `now`. `grants` are the late replies that it makes."""

    def __init__(self, draft: Draft, admission: Admission, is_alive: Callable[[Owner], bool], now: int) -> None:
        self._draft = draft
        self._admission = admission
        self._is_alive = is_alive
        self._now = now
        self.grants: list[Grant] = []

    def stand_by(self, request: wire.StandBy, call: Call, holders: Holders) -> wire.AnyReply:
        """Queue a standby behind the holder of the id, also one that is about to return; register its owner at once
        where there is none."""
        new = self._admission.prepare(request.process_id, request.fields)
        holder = holders.live_holder(new.key)
        if holder is not None:
            self.refuse_oneself(holder, request.owner)
            return self.queue(msgspec.structs.replace(request, process_id=new.process_id), call)
        holders.require_alive(request.owner)
        if holders.reservation_of(new.key, request.owner) is not None:
            return self.queue(msgspec.structs.replace(request, process_id=new.process_id), call)
        self._admission.require_room([new])
        entry = self._draft.add(new.key, new.process_id, request.owner, new.metadata, b"")
        return wire.Done(call.number, [entry])

    def queue(self, request: wire.StandBy | wire.StandByEverywhere, call: Call) -> wire.Queued:
        """Queue a standby behind the others. One that asks again, after its registrar died, keeps its position."""
        everywhere = isinstance(request, wire.StandByEverywhere)
        waits = not isinstance(request, wire.StandByEverywhere) or request.waits
        draft = self._draft
        standbys = draft.standbys_of(id_key(request.process_id))
        for one in standbys:
            if one.session == call.session and one.number == call.number:
                return wire.Queued(call.number, one.position)
        if draft.standby_count >= MAX_STANDBYS:
            raise SystemBusy(f"{draft.standby_count} processes stand by already; nothing was changed, try again later")
        # The rows that this batch removes are removed last, so their positions stay taken in it.
        position = _free_position(request.position, [one.position for one in (*standbys, *draft.dequeued)], self._now)
        row = request.process_id, request.owner, request.fields, call.session, call.number, position
        replaces = isinstance(request, wire.StandByEverywhere) and request.replaces
        draft.queue(Standby(*row, everywhere, waits, replaces))
        return wire.Queued(call.number, position)

    def refuse_oneself(self, holder: Record, owner: Owner) -> None:
        """A process cannot outlive itself. What is registered inside it can end before it does."""
        entry = holder.entry
        if entry.owner == owner and not holder.session:
            raise AlreadyRegistered(
                f"{entry.process_id} is held by this very process (incarnation {entry.incarnation}), which cannot take "
                "over from itself; stand by from another one",
                entry=entry,
            )

    def grant_freed(self, freed: Sequence[Record]) -> None:
        """Give each freed id to its first standby that is alive and for which there is room."""
        for record in freed:
            self.grant_free(record.entry.process_id)

    def grant_free(self, process_id: ProcessId) -> None:
        """`grant_freed`, for one id that no process holds."""
        for standby in self._draft.standbys_of(key_of(process_id)):
            if standby.everywhere:
                # The cluster decides.
                continue
            self._draft.dequeue(standby)
            # A dead standby is skipped, and gets no answer.
            if self._is_alive(standby.owner) and self._grant(standby):
                break

    def grant_handed_over(self, entry: Entry) -> None:
        """An id was handed over. If its new owner stood by for it, its first standby is answered with the entry."""
        for standby in self._draft.standbys_of(key_of(entry.process_id)):
            if standby.owner == entry.owner:
                self._draft.dequeue(standby)
                self.grants.append(Grant(standby, wire.Done(standby.number, [entry])))
                break

    def cancel(self, session: bytes, number: int) -> bool:
        """End the standby that the session's request `number` queued. False when there is none."""
        standbys = [one for one in self._draft.standbys_in(session) if one.number == number]
        for standby in standbys:
            self._draft.dequeue(standby)
        return bool(standbys)

    def end_session(self, session: bytes) -> None:
        """End every standby of a session that is over."""
        for standby in self._draft.standbys_in(session):
            self._draft.dequeue(standby)

    def find(self, session: bytes, number: int) -> Standby | None:
        """The standby for a name of the whole cluster that the session's request `number` queued."""
        found = [one for one in self._draft.standbys_in(session) if one.number == number and one.everywhere]
        return found[0] if found else None

    def grant_name(self, standby: Standby, token: int) -> bool:
        """The cluster has granted a name. False where the standby cannot be registered after all."""
        self._draft.dequeue(standby)
        return self._is_alive(standby.owner) and self._grant(standby, token)

    def refuse_name(self, standby: Standby, error: AdsumError) -> None:
        """The cluster has refused a name."""
        self._draft.dequeue(standby)
        self.grants.append(Grant(standby, wire.failure(standby.number, error)))

    def _grant(self, standby: Standby, token: int = 0) -> bool:
        """Register a standby. False when that is refused, which is its answer then."""
        try:
            new = self._admission.prepare(standby.process_id, standby.fields)
            self._admission.require_room([new])
        except AdsumError as error:
            self.grants.append(Grant(standby, wire.failure(standby.number, error)))
            return False
        entry = self._draft.add(new.key, standby.process_id, standby.owner, new.metadata, b"", token=token)
        self.grants.append(Grant(standby, wire.Done(standby.number, [entry])))
        return True


def _free_position(former: int, taken: list[int], now: int) -> int:
    """The position of a new standby: behind all others, or its former one in a registry that is gone.

    A position is a time of the monotonic clock, which goes on from one registrar and registry to the next. Standbys of
    the same instant are in the order of their requests.
    """
    if not former:
        return max([now, *(position + 1 for position in taken)])
    while former in taken:
        former += 1
    return former
