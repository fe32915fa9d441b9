"""Claims: which member's slot a claimer gets, which claims wait, and what ends a claim.

A claim is a record in the member's entry. So it is committed, seen and lost together with the entry, and "never more
claims than slots" is a statement about one row. It is a ticket lock (first come, first served) over the slots of
several members. Its holders cannot fail to unlock, because a claim ends with its claimer, which the kernel reports.

Between two batches no waiting claim matches a member with a free slot: each batch ends with `grant_waiting`, which
looks at the members that the batch has changed, and at no others. A claim that finds another one waiting for the same
conditions therefore waits behind it, and need not look for a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from .. import _wire as wire
from .._store.layout import Record, key_of
from .._store.query import Query
from ..errors import AdsumError, NotRegistered, SystemBusy
from ..model import ClaimRecord, Entry, Owner
from .admission import Admission
from .batch import Call, Grant, Instant
from .claimers import Claimers, WaitingClaim, claimer_of, claims_of
from .draft import Draft

MAX_WAITING = 4096


class Claims:
    """The claims of one batch. `grants` are the late replies that it makes; `joined` and `left` are the claims that
    begin to wait, and those that wait no more."""

    def __init__(
        self,
        draft: Draft,
        admission: Admission,
        is_alive: Callable[[Owner], bool],
        claimers: Claimers,
        now: Instant,
    ) -> None:
        self._draft = draft
        self._admission = admission
        self._is_alive = is_alive
        self._claimers = claimers
        self._now = now
        self._is_used = bool(claimers)
        # The claims after the changes up to `_seen`: by claimer its numbers and keys, by key the record, and the
        # incarnations whose records in the tables are not the newest.
        self._seen = 0
        self._held: dict[Owner, dict[int, bytes]] = {}
        self._changed: dict[bytes, Record | None] = {}
        self._stale: set[int] = set()
        # Members with a free slot that this batch has changed; in the order of the changes.
        self._free: dict[bytes, None] = {}
        self._turn = claimers.turn
        self._waiting = claimers.waiting
        self.grants: list[Grant] = []
        self.joined: list[WaitingClaim] = []
        self.left: list[WaitingClaim] = []

    # Requests

    def claim(self, request: wire.Claim, query: Query, call: Call) -> wire.AnyReply:
        """A slot of one member that matches, or a queue position behind those that wait. Errors: `SystemBusy`;
        `RegistryFull`."""
        self._is_used = True
        # Those that wait for what this batch has freed came first.
        self.grant_waiting()
        if (key := self._held_by(request.owner).get(request.number)) is not None:
            # Asked again: it has been granted already.
            record = self._draft.record(key)
            return wire.Done(call.number, [] if record is None else [record.entry], changed=False)
        if not any(one.query == query for one in self._waiting) and (record := self._find(query)) is not None:
            self._admission.require_room_for_claim()
            return wire.Done(call.number, [self._add(record, request.owner, request.number)])
        if not request.may_wait:
            return wire.Done(call.number, [], changed=False)
        return self._wait(request, query, call)

    def release(self, owner: Owner, number: int) -> bool:
        """End one claim of a process, which may be waiting. False where there is none."""
        if not self._is_used:
            return False
        for waiting in [one for one in self._waiting if one.owner == owner and one.claim == number]:
            self._leave(waiting)
            return True
        key = self._held_by(owner).get(number)
        if key is None:
            return False
        self._end(key, lambda record: record.number == number and claimer_of(record) == owner)
        return True

    def _wait(self, request: wire.Claim, query: Query, call: Call) -> wire.Queued:
        if len(self._waiting) >= MAX_WAITING:
            raise SystemBusy(f"{len(self._waiting)} claims wait already; nothing was changed, try again later")
        # A position is a time of the monotonic clock, which goes on from one registrar to the next.
        position = request.position or max(self._now.monotonic, *(one.position + 1 for one in self._waiting), 1)
        waiting = WaitingClaim(position, call.session, call.number, request.owner, request.number, query)
        self.joined.append(waiting)
        self._waiting = sorted([*self._waiting, waiting])
        return wire.Queued(call.number, position)

    # What ends claims, and who gets the slots

    def release_all(self, owner: Owner) -> None:
        """End every claim of a process that is dead."""
        if not self._is_used:
            return
        for waiting in [one for one in self._waiting if one.owner == owner]:
            self._leave(waiting)
        for key in dict.fromkeys(self._held_by(owner).values()):
            self._end(key, lambda record: claimer_of(record) == owner)

    def end_session(self, session: bytes) -> None:
        """End the waiting claims of a session that is over. Those that hold a slot belong to their processes."""
        for waiting in [one for one in self._waiting if one.session == session]:
            self._leave(waiting)

    def grant_waiting(self) -> None:
        """Give the slots that this batch has freed to those that wait for them, first come first served."""
        if not self._is_used:
            return
        self._catch_up()
        for waiting in self._waiting if self._changed else ():
            if waiting.query.process_id is not None and self._is_gone(key_of(waiting.query.process_id)):
                self._leave(waiting)
                self.grants.append(Grant(waiting, wire.failure(waiting.number, not_registered(waiting.query))))
            elif (record := self._freed_for(waiting.query)) is not None:
                self._leave(waiting)
                # A dead claimer is skipped, and gets no answer.
                if self._is_alive(waiting.owner):
                    self._grant(waiting, record)

    def _grant(self, waiting: WaitingClaim, record: Record) -> None:
        try:
            self._admission.require_room_for_claim()
        except AdsumError as error:
            self.grants.append(Grant(waiting, wire.failure(waiting.number, error)))
            return
        entry = self._add(record, waiting.owner, waiting.claim)
        self.grants.append(Grant(waiting, wire.Done(waiting.number, [entry])))

    def _freed_for(self, query: Query) -> Record | None:
        """The best of the members that this batch has changed."""
        records = [record for key in self._free if (record := self._draft.record(key)) is not None]
        found = [one for one in records if self._may_be_claimed(one.entry, query)]
        return min(found, key=lambda one: (len(one.entry.claims), self._rank(one.entry.incarnation)), default=None)

    def _is_gone(self, key: bytes) -> bool:
        return key in self._changed and self._draft.record(key) is None

    # The choice of a member

    def _find(self, query: Query) -> Record | None:
        """A living member with a free slot that matches: one with the fewest claims, of equals the next in turn."""
        full = []
        for record in self._in_order(query):
            entry = record.entry
            if not self._may_be_claimed(entry, query):
                continue
            if has_free_slot(entry):
                return record
            full.append(key_of(entry.process_id))
        for key in full:
            # A slot of a dead claimer is free at once, reported or not.
            cleared = self._without_dead_claimers(key)
            if cleared is not None and has_free_slot(cleared.entry) and query.matches(cleared.entry):
                return cleared
        return None

    def _may_be_claimed(self, entry: Entry, query: Query) -> bool:
        """Whether it is a living member of this registry that matches."""
        return entry.origin is None and query.matches(entry) and self._is_alive(entry.owner)

    def _without_dead_claimers(self, key: bytes) -> Record | None:
        record = self._draft.record(key)
        claimers = {claimer_of(one) for one in record.entry.claims} if record is not None else set()
        dead = [owner for owner in claimers if not self._is_alive(owner)]
        for owner in dead:
            self.release_all(owner)
        if dead:
            # Others may wait for it under other conditions.
            self.grant_waiting()
        return self._draft.record(key)

    def _in_order(self, query: Query) -> Iterator[Record]:
        """The records that may match: those without a claim, in turn, then the others by the number of their claims.
        A record is read when it is its turn, for the first one is nearly always the one."""
        self._catch_up()
        counts, stale = self._claimers.counts, self._stale
        stored = sorted(int.from_bytes(row) for row in self._draft.view.candidates(query))
        stored = [incarnation for incarnation in stored if incarnation not in stale] if stale else stored
        changed = {one.entry.incarnation: one for one in self._changed.values() if one is not None}
        numbers = {incarnation: len(one.entry.claims) for incarnation, one in changed.items()}
        numbers.update((incarnation, counts[incarnation]) for incarnation in stored if incarnation in counts)
        unclaimed = (incarnation for incarnation in stored if incarnation not in numbers)
        fresh = sorted(incarnation for incarnation in changed if not numbers[incarnation])
        later = [self._rotated(unclaimed), sorted(fresh, key=self._rank)]
        claimed = sorted((one for one in numbers if numbers[one]), key=lambda one: (numbers[one], self._rank(one)))
        for incarnation in (*merge(*later, key=self._rank), *claimed):
            if (record := changed.get(incarnation)) is None:
                stored_record = self._draft.view.record_at(incarnation.to_bytes(8))
                # With the heartbeat, if one came in this batch.
                record = self._draft.refreshed.get(key_of(stored_record.entry.process_id), stored_record)
            yield record

    def _rotated(self, incarnations: Iterator[int]) -> Iterator[int]:
        """Ascending numbers, from the one after the turn on."""
        before = []
        for incarnation in incarnations:
            if incarnation <= self._turn:
                before.append(incarnation)
            else:
                yield incarnation
        yield from before

    def _rank(self, incarnation: int) -> tuple[bool, int]:
        return incarnation <= self._turn, incarnation

    # The records

    def _add(self, record: Record, owner: Owner, number: int) -> Entry:
        claims = (*record.entry.claims, ClaimRecord(number, *owner, self._now.utc))
        entry = self._draft.put_claims(record, claims)
        self._turn = entry.incarnation
        self._catch_up()
        return entry

    def _end(self, key: bytes, is_ended: Callable[[ClaimRecord], bool]) -> None:
        record = self._draft.record(key)
        if record is not None:
            self._draft.put_claims(record, tuple(one for one in record.entry.claims if not is_ended(one)))
            self._catch_up()

    def _leave(self, waiting: WaitingClaim) -> None:
        self.left.append(waiting)
        self._waiting = [one for one in self._waiting if one is not waiting]

    def _held_by(self, owner: Owner) -> dict[int, bytes]:
        self._catch_up()
        return self._own(owner)

    def _own(self, owner: Owner) -> dict[int, bytes]:
        if owner not in self._held:
            self._held[owner] = self._claimers.held_by(owner)
        return self._held[owner]

    def _catch_up(self) -> None:
        """Follow the changes that were made since the last call."""
        changes = self._draft.changes
        while self._seen < len(changes):
            change = changes[self._seen]
            self._seen += 1
            ended, begun = claims_of(change)
            for record in ended:
                self._own(claimer_of(record)).pop(record.number, None)
            for record in begun:
                self._own(claimer_of(record))[record.number] = change.key
            if change.before is not None:
                self._stale.add(change.before.entry.incarnation)
            self._changed[change.key] = change.after
            self._free.pop(change.key, None)
            if change.after is not None and has_free_slot(change.after.entry):
                self._free[change.key] = None

    # The result

    def holds_slots(self, owner: Owner) -> bool:
        return self._is_used and bool(self._held_by(owner))

    def watched(self) -> list[Owner]:
        """The claimers of this batch that hold a slot after it."""
        if not self._is_used:
            return []
        self._catch_up()
        return [owner for owner, held in self._held.items() if held]

    def emptied(self) -> Sequence[Owner]:
        """The claimers whose last claim this batch has ended."""
        return [owner for owner, held in self._held.items() if not held and self._claimers.held_by(owner)]


def has_free_slot(entry: Entry) -> bool:
    """Whether one more claim fits."""
    return len(entry.claims) < (entry.metadata.slots or 1)


def not_registered(query: Query) -> NotRegistered:
    """The answer to a claim on an id that no living member holds."""
    return NotRegistered(
        f"{query.process_id} is not registered (or its process has died), so it cannot be claimed; wait_for() waits "
        "until it is"
    )
