"""The model: a dictionary, and the rules of the contract applied one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adsum._engine.heartbeats import Lateness
from adsum.model import Limits, Owner

from .asks import Ask, Fields, Id
from .expected import Expected, ExpectedDeparture, Refused, Turn
from .queues import Promises, Queues
from .reading import Change, PlainEntry
from .rules import EPOCH
from .updates import Updates

KEEP_CHANGES = 2000


class Model(Updates):
    """The registry as it should be. It is advanced by a batch that was committed, and by nothing else."""

    def __init__(self, limits: Limits, keep_departures: int) -> None:
        self.limits = limits
        self.keep_departures = keep_departures
        self.revision = 0
        self.holders: dict[Id, PlainEntry] = {}
        self.departures: list[ExpectedDeparture] = []
        self.incarnations: list[int] = []
        self.believed: list[int] = []
        self.changes: list[Change] = []
        self.queues = Queues()
        self.promises = Promises(limits)
        # The grants of the last batch, in their order.
        self.granted: list[tuple[Ask, Expected]] = []
        self._heartbeats: list[int] = []
        # Owners of entries that this batch added, in their order.
        self._gained: dict[Owner, None] = {}
        self._turn = Turn(lambda owner: True, EPOCH, 0, 0)

    def commit(
        self,
        deaths: Sequence[Owner],
        ended: Sequence[tuple[Owner, bytes]],
        asks: Sequence[Ask],
        turn: Turn,
        late: Sequence[Lateness] = (),
    ) -> list[Expected]:
        """Advance by one batch; returns the replies that its requests should get.

        The owners of new entries are watched before the commit. One that dies in between is known to be dead when the
        batch is decided again.
        """
        dead: set[Owner] = set()
        watched = self.owners
        seen = len(self.changes)
        self._turn = turn._replace(is_alive=lambda owner: owner not in dead and turn.is_alive(owner))
        while True:
            saved = self._saved()
            replies = self._decide(deaths, ended, asks, late)
            new = [owner for owner in self._gained if owner not in watched and owner in self.owners]
            died = {owner for owner in new if not turn.is_alive(owner)}
            if not died:
                break
            dead.update(died)
            watched = watched | set(new) - died
            self._restore(saved)
        self.promises.keep(self.changes[seen:], late, self._heartbeats, turn.committed)
        del self.departures[: -self.keep_departures], self.incarnations[:-100], self.changes[:-KEEP_CHANGES]
        return replies

    def _saved(self) -> tuple[Any, ...]:
        return (
            self.revision,
            dict(self.holders),
            list(self.departures),
            len(self.incarnations),
            len(self.changes),
            (self.queues.copy()),
        )

    def _restore(self, saved: tuple[Any, ...]) -> None:
        self.revision, self.holders, self.departures, incarnations, changes, self.queues = saved
        del self.incarnations[incarnations:], self.changes[changes:]

    def _decide(
        self,
        deaths: Sequence[Owner],
        ended: Sequence[tuple[Owner, bytes]],
        asks: Sequence[Ask],
        late: Sequence[Lateness],
    ) -> list[Expected]:
        self.believed, self.granted, self._heartbeats, self._gained = [], [], [], {}
        # Standbys of ended sessions get no id that a death in the same batch frees.
        for waiting in [one for _, session in ended for one in self.queues.in_session(session)]:
            self.queues.leave(waiting)
        for owner in deaths:
            self._remove_dead(owner, "died")
        for owner, session in ended:
            self._end_session(owner, session)
        # Where the engine fails on a request, what happens unasked is committed first, and then each request alone.
        failing = self._turn.failing
        self._note_late(late if failing else ())
        replies = [self._answer(ask, position) for position, ask in enumerate(asks)]
        self._note_late(() if failing else late)
        return replies

    def owned(self, owner: Owner) -> list[PlainEntry]:
        """The entries of a process, in the order of registration."""
        return sorted((e for e in self.holders.values() if e.owner == owner), key=lambda entry: entry.incarnation)

    @property
    def owners(self) -> set[Owner]:
        return {Owner(*entry.owner) for entry in self.holders.values()}

    # Requests

    def _answer(self, ask: Ask, position: int) -> Expected:
        try:
            if position in self._turn.failing:
                raise Refused("internal_error")
            if ask.deadline < self._turn.monotonic:
                raise Refused("timeout")
            return self._carry_out(ask, position)
        except Refused as refused:
            holder = () if refused.holder is None else (refused.holder,)
            return Expected(holder, changed=False, reason=refused.reason)

    def _carry_out(self, ask: Ask, position: int) -> Expected:
        match ask.kind:
            case "register":
                return self._register(ask, position)
            case "update":
                return self._update(ask, position)
            case "unregister":
                return self._unregister(ask)
            case "amend" | "update_many" | "unregister_many":
                return self._amend_or_change_many(ask, position)
            case "hand_over":
                return self._hand_over(ask)
            case "heartbeat":
                return self._heartbeat(ask)
            case "stand_by":
                return self._stand_by(ask, position)
            case "cancel":
                return self._cancel(ask)
            case "exit_of":
                return self._exit_of(ask)

    def _register(self, ask: Ask, position: int) -> Expected:
        wanted = [(item.id, self._new_metadata(item)) for item in ask.items]
        if len(dict(wanted)) < len(wanted):
            raise Refused("invalid_process_id")
        if not self._turn.is_alive(ask.owner):
            raise Refused("dead_process")
        for process_id, _ in wanted:
            holder = self._living(process_id)
            if holder is not None and ask.or_get:
                return Expected((holder,), changed=False)
            if holder is not None:
                raise Refused("already_registered", holder)
        self._require_room(len(wanted))
        self._believe(position)
        session = ask.session if ask.bound else b""
        sources = [
            "other" if "health_status" in item.fields and ask.caller not in (None, ask.owner) else "process"
            for item in ask.items
        ]
        added = [
            self._add(process_id, ask.owner, fields, session, source=source)
            for (process_id, fields), source in zip(wanted, sources, strict=True)
        ]
        return Expected(tuple(added))

    def _update(self, ask: Ask, position: int) -> Expected:
        item = ask.items[0]
        entry = self._holder(ask)
        if item.flaw:
            raise Refused(item.flaw)
        return Expected(self._updated(ask, position, [(entry, item.fields)]))

    def _unregister(self, ask: Ask) -> Expected:
        try:
            entry = self._holder(ask)
        except Refused as refused:
            if refused.reason == "not_registered":
                return Expected(changed=False)
            raise
        self._remove(entry, "unregistered")
        self._succeed([entry])
        return Expected()

    def _hand_over(self, ask: Ask) -> Expected:
        entry = self._holder(ask)
        if not self._turn.is_alive(ask.owner):
            raise Refused("dead_process")
        metadata, source = entry.metadata, entry.source
        if entry.before_late is not None:
            # The old owner was late, and not the new one.
            status, source = entry.before_late
            metadata = {**metadata, "health_status": status}
        is_said = metadata["health_status"] != "healthy" or metadata["last_health_check"] > entry.registered_at
        if is_said and source == "process" and ask.owner != Owner(*entry.owner):
            # The old owner said it, and not the new one.
            source = "other"
        after = self._add(entry.id, ask.owner, metadata, b"", before=entry, source=source)
        self.departures.append(ExpectedDeparture(after.revision, "handed_over", entry))
        mine = [one for one in self.queues.of(after.id) if one.owner == ask.owner]
        for one in mine[:1]:
            self.queues.leave(one)
            self.granted.append((one, Expected((after,))))
        return Expected((after,))

    def _heartbeat(self, ask: Ask) -> Expected:
        entry = self._holder(ask)
        if ask.owner != Owner(*entry.owner):
            raise Refused("permission_denied")
        self._heartbeats.append(entry.incarnation)
        checked = max(self._turn.utc, entry.metadata["last_health_check"])
        metadata = {**entry.metadata, "last_health_check": checked}
        if entry.before_late is None:
            self.holders[entry.id] = entry._replace(metadata=metadata)
            return Expected((self.holders[entry.id],), changed=False)
        status, source = entry.before_late
        return self._replaced(entry, {**metadata, "health_status": status}, source=source, before_late=None)

    def left_heartbeat(self, id: Id, utc: datetime, now: int) -> None:
        """The holder of an id left a heartbeat in shared memory."""
        entry = self.holders[id]
        checked = max(utc, entry.metadata["last_health_check"])
        self.holders[id] = entry._replace(metadata={**entry.metadata, "last_health_check": checked})
        self.promises.received(entry.incarnation, now)

    def _stand_by(self, ask: Ask, position: int) -> Expected:
        item = ask.items[0]
        metadata = self._new_metadata(item)
        holder = self._living(item.id)
        if holder is not None:
            if Owner(*holder.owner) == ask.owner and not holder.session:
                raise Refused("already_registered", holder)
            self.queues.join(ask)
            return Expected(queued=True)
        if not self._turn.is_alive(ask.owner):
            raise Refused("dead_process")
        self._require_room(1)
        self._believe(position)
        return Expected((self._add(item.id, ask.owner, metadata, b""),))

    def _cancel(self, ask: Ask) -> Expected:
        mine = [one for one in self.queues.in_session(ask.session) if one.number == ask.stand_by]
        for one in mine:
            self.queues.leave(one)
        return Expected(changed=bool(mine))

    def _exit_of(self, ask: Ask) -> Expected:
        if self._turn.is_alive(ask.owner):
            return Expected(changed=False)
        self._remove_dead(ask.owner, "died")
        changed = False
        for place, left in enumerate(self.departures):
            if Owner(*left.entry.owner) == ask.owner and left.how in ("died", "replaced") and left.exit is None:
                self.departures[place] = left._replace(exit=ask.code)
                changed = True
        return Expected(changed=changed)

    # Steps that no request asks for

    def _end_session(self, owner: Owner, session: bytes) -> None:
        ended = [entry for entry in self.owned(owner) if entry.session == session]
        for entry in ended:
            self._remove(entry, "unregistered")
        self._succeed(ended)

    def _succeed(self, freed: Sequence[PlainEntry]) -> None:
        """A freed id goes to the first standby that is alive and for which there is room."""
        for entry in freed:
            for ask in self.queues.of(entry.id):
                self.queues.leave(ask)
                if not self._turn.is_alive(ask.owner):
                    continue
                try:
                    metadata = self._new_metadata(ask.items[0])
                    self._require_room(1)
                    if ask.name in self._turn.no_room_for:
                        raise Refused("registry_full")
                except Refused as refused:
                    self.granted.append((ask, Expected(changed=False, reason=refused.reason)))
                    continue
                self.granted.append((ask, Expected((self._add(entry.id, ask.owner, metadata, b""),))))
                break

    def _note_late(self, late: Sequence[Lateness]) -> None:
        for one in late:
            entry = next((entry for entry in self.holders.values() if entry.incarnation == one.incarnation), None)
            if entry is None or entry.incarnation in self._heartbeats or not self._turn.is_alive(Owner(*entry.owner)):
                continue
            said = entry.before_late or (entry.metadata["health_status"], entry.source)
            worst = max(one.status.value, said[0], key=("healthy", "degraded", "unhealthy").index)
            self._replaced(entry, {**entry.metadata, "health_status": worst}, source="registrar", before_late=said)

    # Steps

    def _believe(self, position: int) -> None:
        """Refuse a request that needs room, where the registrar said that there is none."""
        if position in self._turn.no_room:
            self.believed.append(position)
            raise Refused("registry_full")

    def _holder(self, ask: Ask) -> PlainEntry:
        item = ask.items[0]
        if item.flaw == "invalid_process_id":
            raise Refused(item.flaw)
        entry = self._living(item.id)
        if entry is None:
            raise Refused("not_registered")
        if ask.if_incarnation is not None and ask.if_incarnation != entry.incarnation:
            raise Refused("stale", entry)
        return entry

    def _living(self, process_id: Id) -> PlainEntry | None:
        entry = self.holders.get(process_id)
        if entry is not None and not self._turn.is_alive(Owner(*entry.owner)):
            self._remove_dead(Owner(*entry.owner), "replaced")
        return self.holders.get(process_id)

    def _remove_dead(self, owner: Owner, how: str) -> None:
        owned = self.owned(owner)
        for entry in owned:
            self._remove(entry, how)
        self._succeed(owned)

    def _remove(self, entry: PlainEntry, how: str) -> None:
        self.revision += 1
        del self.holders[entry.id]
        self.changes.append(Change(self.revision, "unregistered" if how == "unregistered" else "died", entry, None))
        self.departures.append(ExpectedDeparture(self.revision, how, entry))

    def _add(
        self,
        process_id: Id,
        owner: Owner,
        metadata: Fields,
        session: bytes,
        *,
        before: PlainEntry | None = None,
        source: str = "process",
    ) -> PlainEntry:
        self.revision += 1
        now, number = self._turn.utc, self.revision
        identity = (owner.pid, owner.start_time, owner.pidfd_inode)
        entry = PlainEntry(process_id, identity, number, now, now, number, metadata, source, session)
        self.holders[process_id] = entry
        self._gained.setdefault(owner)
        self.changes.append(Change(number, "updated" if before else "registered", before, entry))
        self.incarnations.append(number)
        return entry

    def _replaced(self, before: PlainEntry, metadata: Fields, **health: Any) -> Expected:
        return Expected((self._replace(before, metadata, **health),))

    def _replace(self, before: PlainEntry, metadata: Fields, **health: Any) -> PlainEntry:
        self.revision += 1
        updated = max(self._turn.utc, before.registered_at)
        after = before._replace(metadata=metadata, revision=self.revision, last_updated=updated, **health)
        self.holders[after.id] = after
        self.changes.append(Change(self.revision, "updated", before, after))
        return after
