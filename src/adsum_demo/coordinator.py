"""The coordinator: finds agents by what they can do, gives them work, and has lost work done again.

It knows of an agent only what the registry says. A watch tells it who came, who died and who is stuck; before it gives
work to somebody it looks that one up. A connection that breaks means nothing: the watch will say whether its other end
is dead. What it learns and what is finished goes into the journal, so that its successor can go on (see `leader`).
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections import Counter
from collections.abc import Callable

import adsum

from . import journal
from .backlog import Backlog
from .job import SUMMING, FileReport
from .journal import Died, Finished, Given, Journal, Stuck, Summed, Well
from .members import Member
from .messages import Assignment, Done, Failed, Message, Totals, connect
from .news import News
from .status import StatusUpdate
from .team import address
from .view import Row
from .witness import Witness

LOOK_SECONDS = 0.05
STALL_SECONDS = 60.0
SETTLE_SECONDS = 0.5
SEND_SECONDS = 5.0
# How long the watch may take to tell of the death of somebody whose connection broke.
CUT_SECONDS = 2.0


class DemoFailed(Exception):
    """The job cannot be finished."""


class Coordinator:
    """Runs one job, from where the journal ends."""

    def __init__(
        self,
        witness: Witness,
        registration: adsum.Registration,
        backlog: Backlog,
        journal_: Journal,
        watch: adsum.Watch,
        send_update: Callable[[StatusUpdate], None],
    ) -> None:
        self._witness = witness
        self._registration = registration
        self._backlog = backlog
        self._journal = journal_
        self._watch = watch
        self._tell = send_update
        self._members: dict[adsum.ProcessId, Member] = {}
        self._left: dict[str, Row] = {}
        self._pieces: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._deaths = sum(isinstance(record, Died) for record in journal_.records)
        self._moved = time.monotonic()
        self._looked = 0.0
        self._events: list[str] = []
        for entry in watch.snapshot:
            self._meet(entry)
        self._news = News(watch)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._news, selectors.EVENT_READ)

    def run(self) -> None:
        """Until every file is done and every package summed up. Errors: `DemoFailed`, and the registry's."""
        while not self._backlog.finished:
            self._assign()
            self._turn()
        self._look()
        # Chaos sees in the coordinator's entry that the work is done; who died at the last moment is yet to be missed.
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            self._turn()
        self._look()

    def close(self) -> None:
        for member in self._members.values():
            self._hang_up(member)
        self._selector.close()
        self._news.close()

    def note(self, event: str) -> None:
        """Something that whoever looks on should know."""
        self._events.append(event)

    def _turn(self) -> None:
        for key, _ in self._selector.select(LOOK_SECONDS):
            if key.data is not None:
                self._receive(key.data)
        for event in self._news.take():
            self._learn(event)
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._look()

    # Giving work

    def _assign(self) -> None:
        for stage in self._backlog.stages():
            while stage in self._backlog.stages():
                entry = self._witness.choose(capability=stage, where=self._is_free)
                if entry is None or not self._reach(entry):
                    break
                self._give(self._members[entry.process_id], entry, stage)

    def _is_free(self, entry: adsum.Entry) -> bool:
        """Whether somebody has nothing in hand. Of who has just come the watch will tell in a moment."""
        member = self._members.get(entry.process_id)
        return member is not None and member.piece is None and member.is_incarnation_of(entry)

    def _reach(self, entry: adsum.Entry) -> bool:
        """Whether a member can be called, and is still there to be."""
        member = self._members[entry.process_id]
        if member.connection is None:
            try:
                member.connection = connect(address(entry.metadata.endpoint), SEND_SECONDS)
            except OSError:
                # Perhaps it died since. If not, it will be found again.
                return False
            self._selector.register(member.connection, selectors.EVENT_READ, member)
        return member.is_incarnation_of(self._witness.lookup(entry.process_id))

    def _give(self, member: Member, chosen: adsum.Entry, stage: str) -> None:
        connection = member.connection
        if connection is None:
            return
        member.piece, work = self._backlog.take(stage)
        member.number = next(self._numbers)
        if stage == SUMMING:
            self._journal.write(Given(member.piece.name, member.name, chosen.revision))
        try:
            connection.send(Assignment(member.number, work))
        except OSError:
            self._hang_up(member)

    def _receive(self, member: Member) -> None:
        if member.connection is None:
            return
        try:
            messages = member.connection.receive()
        except OSError:
            # What it has in hand waits until the watch says that it is dead.
            self._hang_up(member)
            return
        for message in messages:
            self._take(member, message)

    def _take(self, member: Member, message: Message) -> None:
        if isinstance(message, Failed):
            raise DemoFailed(message.why)
        if isinstance(message, Done) and message.number in member.taken_back:
            member.taken_back.discard(message.number)
            return
        if not isinstance(message, Done) or member.piece is None or message.number != member.number:
            raise DemoFailed(f"{member.name} answered what it was not asked")
        piece, member.piece = member.piece, None
        if isinstance(message.product, FileReport):
            self._journal.write(Finished(message.product))
        elif isinstance(message.product, Totals):
            self._journal.write(Summed(piece.name, message.product.totals))
        self._backlog.finish(piece, message.product)
        self._pieces[member.name] += 1
        self._moved = time.monotonic()

    def _take_back(self, member: Member) -> str:
        piece, member.piece = member.piece, None
        if piece is None:
            return ""
        self._backlog.give_back(piece)
        member.taken_back.add(member.number)
        return f"{piece.stage} {piece.name}"

    def _hang_up(self, member: Member) -> None:
        if member.connection is not None:
            self._selector.unregister(member.connection)
            member.connection.close()
            member.connection, member.cut = None, time.monotonic()
            member.taken_back.clear()

    # What the watch tells

    def _learn(self, event: adsum.Event) -> None:
        entry = event.entry
        if entry is None:
            self._begin_anew()
            return
        known = self._members.get(entry.process_id)
        match event.kind:
            case adsum.Kind.registered:
                self._meet(entry)
            case adsum.Kind.updated if known is not None:
                was_stuck, known.entry = known.is_stuck, entry
                self._note_health(known, was_stuck)
            case adsum.Kind.died | adsum.Kind.unregistered if known is not None:
                self._bury(known, int(event.revision))

    def _begin_anew(self) -> None:
        """Changes were missed: who is not in the new snapshot is gone."""
        stands = {entry.process_id: entry for entry in self._watch.snapshot}
        for process_id, member in list(self._members.items()):
            if not member.is_incarnation_of(stands.get(process_id)):
                self._bury(member, int(self._watch.revision))
        for entry in stands.values():
            if entry.process_id not in self._members:
                self._meet(entry)

    def _meet(self, entry: adsum.Entry) -> None:
        member = self._members[entry.process_id] = Member(entry)
        if self._left.pop(member.name, None):
            self.note(f"{member.name} is back: pid {entry.pid}, incarnation {entry.incarnation}")

    def _note_health(self, member: Member, was_stuck: bool) -> None:
        entry = member.entry
        if member.is_stuck and not was_stuck:
            piece = self._take_back(member)
            self._journal.write(Stuck(member.name, entry.revision, entry.last_updated, piece))
            waits = f"; {piece} waits for one who is well" if piece else ""
            self.note(f"{member.name} is stuck, says the registrar{waits}")
        elif was_stuck and not member.is_stuck:
            self._journal.write(Well(member.name, entry.revision, entry.last_updated))
            self.note(f"{member.name} is well again")

    def _bury(self, member: Member, revision: int) -> None:
        del self._members[member.entry.process_id]
        self._hang_up(member)
        self._left[member.name] = self._row(member)._replace(pid=None, incarnation=None, health=None, at="gone")
        lost = self._take_back(member)
        self._journal.write(Died(member.name, revision, lost))
        self._deaths += 1
        goes = f"; {lost} goes to another" if lost else ""
        self.note(f"{member.name} (pid {member.entry.pid}) is gone{goes}")

    # Telling

    def _look(self) -> None:
        """Tell everybody how far the work is."""
        self._looked = now = time.monotonic()
        if now > self._moved + STALL_SECONDS:
            raise DemoFailed(f"nobody finished anything for {STALL_SECONDS:g} s")
        for member in self._members.values():
            if member.piece is not None and member.connection is None and now > member.cut + CUT_SECONDS:
                # It lives, and has lost its caller.
                self._take_back(member)
        self._publish()
        news, self._events = self._events, []
        witness = self._witness
        self._tell(
            StatusUpdate(
                rows=sorted([*map(self._row, self._members.values()), *self._left.values()]),
                done=self._backlog.done,
                deaths=self._deaths,
                news=news,
                lookups=witness.lookups,
                finds=witness.finds,
                dead_handed_out=witness.dead_handed_out,
            )
        )

    def _publish(self) -> None:
        """Progress and acquaintances, in the coordinator's own entry, for whoever wants to know."""
        progress = {"files_done": self._backlog.done, "files": self._backlog.files}
        met = sorted(member.entry.incarnation for member in self._members.values())
        took_over = any(isinstance(record, journal.Began) for record in self._journal.records)
        custom = {"met": met, "finished": self._backlog.finished, "took_over": took_over}
        known = self._registration.entry.metadata
        if known.resources != progress or known.custom != custom:
            self._registration.update(resources=progress, custom=custom)

    def _row(self, member: Member) -> Row:
        return member.row(self._pieces[member.name])
