"""The coordinator: finds agents by capability, assigns work, and reassigns what is lost with an agent.

It knows of an agent only what the registry says. A watch reports which agents came, died or got stuck, and it looks an
agent up again before it sends work. A broken connection proves nothing: the watch will say whether the other end is
dead. Results and deaths go into the journal, so that a successor can continue (see `leader`).

In a cluster, a host that cannot be reached any more has one event, and its agents are lost with it until it returns. A
coordinator whose own host has lost its lease does nothing: another one may lead by now.
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import adsum

from .backlog import Backlog
from .event_queue import EventQueue
from .job import SUMMING, FileReport
from .journal import (
    AgentDeath,
    FileResult,
    HostLoss,
    Journal,
    PackageResult,
    StuckEnd,
    StuckStart,
    SumAssignment,
    TermStart,
)
from .members import Member
from .messages import Assignment, Done, Failed, Message, Totals, connect
from .status import StatusUpdate
from .view import Row
from .witness import CheckedReads

STATUS_SECONDS = 0.05
STALL_SECONDS = 60.0
SETTLE_SECONDS = 0.5
SEND_SECONDS = 5.0
# The part of the job that waits for its gate, if it has one.
HELD_BACK_PART = 0.4
# How long the watch may take to report the death of an agent whose connection broke.
DISCONNECTED_SECONDS = 2.0


class DemoFailed(Exception):
    """The job cannot be finished."""


class NameLost(DemoFailed):
    """The coordinator does not hold its id any more."""


class Coordinator:
    """Runs one job, from where the journal ends."""

    def __init__(
        self,
        witness: CheckedReads,
        registration: adsum.Registration,
        backlog: Backlog,
        journal: Journal,
        watch: adsum.Watch,
        send_status: Callable[[StatusUpdate], None],
        gate: Path | None = None,
    ) -> None:
        self._witness = witness
        self._registration = registration
        self._token = registration.fencing_token
        self._backlog = backlog
        self._journal = journal
        self._watch = watch
        self._send_status = send_status
        self._gate = gate
        if gate is not None:
            backlog.held_back = int(HELD_BACK_PART * backlog.files)
        self._members: dict[adsum.ProcessId, Member] = {}
        self._rows_of_dead: dict[str, Row] = {}
        self._pieces: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._deaths = sum(isinstance(record, AgentDeath) for record in journal.records)
        self._progress_at = time.monotonic()
        self._status_at = 0.0
        self._events: list[str] = []
        unreachable = {host.name for host in witness.registry.hosts() if host.reach is adsum.Reach.unreachable}
        for entry in watch.snapshot:
            self._add(entry)
            self._members[entry.process_id].is_lost = entry.host in unreachable
        self._queue = EventQueue(watch)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._queue, selectors.EVENT_READ)

    def run(self) -> None:
        """Work until every file is done and every package summed up. Errors: `DemoFailed`, and the registry's."""
        while not self._backlog.finished:
            self._assign()
            self._step()
        self._report_status()
        # Chaos reads in the coordinator's entry that the work is done. Deaths of the last moment are still to come.
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            self._step()
        self._report_status()

    def close(self) -> None:
        """Close every connection, and the watch."""
        for member in self._members.values():
            self._disconnect(member)
        self._selector.close()
        self._queue.close()

    def note(self, event: str) -> None:
        """Add a line to the events of the next status update."""
        self._events.append(event)

    def _step(self) -> None:
        self._require_name()
        if self._backlog.held_back and self._gate is not None and self._gate.exists():
            self._backlog.held_back = 0
        for key, _ in self._selector.select(STATUS_SECONDS):
            if key.data is not None:
                self._receive(key.data)
        for event in self._queue.take():
            self._apply(event)
        if time.monotonic() >= self._status_at + STATUS_SECONDS:
            self._report_status()

    def _require_name(self) -> None:
        """Wait while another coordinator may lead. Errors: `NameLost`."""
        registration = self._registration
        while not registration.valid:
            if self._witness.lookup(registration.process_id) is None:
                raise NameLost("the coordinator's id is held by another process")
            time.sleep(STATUS_SECONDS)
        if self._token != registration.fencing_token:
            raise NameLost("the coordinator's id was lost for a moment: another one may have led meanwhile")

    # Assignments

    def _assign(self) -> None:
        for stage in self._backlog.stages():
            while stage in self._backlog.stages():
                entry = self._witness.choose(capability=stage, where=self._is_free)
                if entry is None or not self._is_reachable(entry):
                    break
                self._give(self._members[entry.process_id], entry, stage)

    def _is_free(self, entry: adsum.Entry) -> bool:
        """Whether an agent has no piece in hand. One that has just registered is not known before its event comes."""
        member = self._members.get(entry.process_id)
        return member is not None and member.piece is None and member.is_incarnation_of(entry)

    def _is_reachable(self, entry: adsum.Entry) -> bool:
        """Connect to an agent where there is no connection yet. Whether that worked, and it is still registered."""
        member = self._members[entry.process_id]
        if member.connection is None:
            try:
                member.connection = connect(entry.metadata.endpoint, SEND_SECONDS)
            except OSError:
                # It may have died since. If it is alive, the next search finds it again.
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
            self._journal.write(SumAssignment(member.piece.name, member.name, chosen.revision))
        try:
            connection.send(Assignment(member.number, work))
        except OSError:
            self._disconnect(member)

    def _receive(self, member: Member) -> None:
        if member.connection is None:
            return
        try:
            messages = member.connection.receive()
        except OSError:
            # Its piece stays with it until the watch reports its death.
            self._disconnect(member)
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
            raise DemoFailed(f"{member.name} answered an assignment that it was not given")
        piece, member.piece = member.piece, None
        if isinstance(message.product, FileReport):
            self._journal.write(FileResult(message.product))
        elif isinstance(message.product, Totals):
            self._journal.write(PackageResult(piece.name, message.product.totals))
        self._backlog.finish(piece, message.product)
        self._pieces[member.name] += 1
        self._progress_at = time.monotonic()

    def _take_back(self, member: Member) -> str:
        """Put the member's piece back into the backlog, and return its name; empty where it had none."""
        piece, member.piece = member.piece, None
        if piece is None:
            return ""
        self._backlog.give_back(piece)
        member.taken_back.add(member.number)
        return f"{piece.stage} {piece.name}"

    def _disconnect(self, member: Member) -> None:
        if member.connection is not None:
            self._selector.unregister(member.connection)
            member.connection.close()
            member.connection, member.disconnected_at = None, time.monotonic()
            member.taken_back.clear()

    # Events of the watch

    def _apply(self, event: adsum.Event) -> None:
        entry = event.entry
        if event.host:
            self._note_host(event.kind, event.host)
            return
        if entry is None:
            self._resynchronize()
            return
        known = self._members.get(entry.process_id)
        match event.kind:
            case adsum.Kind.registered:
                self._add(entry)
            case adsum.Kind.updated if known is not None:
                was_stuck, known.entry = known.is_stuck, entry
                self._note_health(known, was_stuck)
            case adsum.Kind.died | adsum.Kind.unregistered if known is not None:
                self._remove(known, int(event.revision))

    def _note_host(self, kind: adsum.Kind, host: str) -> None:
        """A host became unreachable, and its agents with it; or it returned."""
        members = [member for member in self._members.values() if member.entry.host == host]
        for member in members:
            member.is_lost = kind is adsum.Kind.unreachable
        if kind is not adsum.Kind.unreachable:
            self.note(f"{host} {'has returned' if kind is adsum.Kind.returned else 'is whole again'}")
            return
        lost = [piece for member in members if (piece := self._take_back(member))]
        for member in members:
            self._disconnect(member)
        self._journal.write(HostLoss(host, sorted(member.name for member in members), lost))
        self.note(f"{host} is unreachable, with {len(members)} agents; {len(lost)} pieces of work go to others")

    def _resynchronize(self) -> None:
        """The watch lagged: events are missing. Compare the members with its new snapshot."""
        entries = {entry.process_id: entry for entry in self._watch.snapshot}
        for process_id, member in list(self._members.items()):
            if not member.is_incarnation_of(entries.get(process_id)):
                self._remove(member, int(self._watch.revision))
        for entry in entries.values():
            if entry.process_id not in self._members:
                self._add(entry)

    def _add(self, entry: adsum.Entry) -> None:
        member = self._members[entry.process_id] = Member(entry)
        if self._rows_of_dead.pop(member.name, None):
            self.note(f"{member.name} is back: pid {entry.pid}, incarnation {entry.incarnation}")

    def _note_health(self, member: Member, was_stuck: bool) -> None:
        entry = member.entry
        if member.is_stuck and not was_stuck:
            piece = self._take_back(member)
            self._journal.write(StuckStart(member.name, entry.revision, entry.last_updated, piece))
            reassigned = f"; {piece} waits for a healthy agent" if piece else ""
            self.note(f"{member.name} is stuck, its heartbeat is late{reassigned}")
        elif was_stuck and not member.is_stuck:
            self._journal.write(StuckEnd(member.name, entry.revision, entry.last_updated))
            self.note(f"{member.name} is healthy again")

    def _remove(self, member: Member, revision: int) -> None:
        del self._members[member.entry.process_id]
        self._disconnect(member)
        self._rows_of_dead[member.name] = self._row(member)._replace(pid=None, incarnation=None, health=None, at="dead")
        lost = self._take_back(member)
        self._journal.write(AgentDeath(member.name, revision, lost))
        self._deaths += 1
        reassigned = f"; {lost} goes to another agent" if lost else ""
        self.note(f"{member.name} (pid {member.entry.pid}) died{reassigned}")

    # Status

    def _report_status(self) -> None:
        """Report to the command, and in the coordinator's own entry. Errors: `DemoFailed` where the job stalls."""
        self._status_at = now = time.monotonic()
        if now > self._progress_at + STALL_SECONDS:
            raise DemoFailed(f"no agent finished anything for {STALL_SECONDS:g} s")
        for member in self._members.values():
            is_disconnected = member.piece is not None and member.connection is None
            if is_disconnected and now > member.disconnected_at + DISCONNECTED_SECONDS:
                # The agent is alive, and lost its connection with the piece in hand.
                self._take_back(member)
        self._publish()
        events, self._events = self._events, []
        witness = self._witness
        self._send_status(
            StatusUpdate(
                rows=sorted([*map(self._row, self._members.values()), *self._rows_of_dead.values()]),
                done=self._backlog.done,
                deaths=self._deaths,
                events=events,
                lookups=witness.lookups,
                finds=witness.finds,
                dead_handed_out=witness.dead_handed_out,
                staleness=witness.staleness,
            )
        )

    def _publish(self) -> None:
        """Update the coordinator's entry: its progress, and the incarnations that it knows. Chaos reads both."""
        progress = {"files_done": self._backlog.done, "files": self._backlog.files}
        known = sorted(member.entry.incarnation for member in self._members.values())
        took_over = any(isinstance(record, TermStart) for record in self._journal.records)
        custom = {"known": known, "finished": self._backlog.finished, "took_over": took_over}
        published = self._registration.entry.metadata
        if published.resources != progress or published.custom != custom:
            self._registration.update(resources=progress, custom=custom)

    def _row(self, member: Member) -> Row:
        return member.row(self._pieces[member.name])
