"""The coordinator: finds agents by what they can do, gives them work, and has lost work done again.

It knows of an agent only what the registry says. A connection that breaks is a reason to look, not a verdict; an agent
is dead when a lookup finds nothing under its id, or another incarnation.
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections import Counter
from typing import IO

import adsum

from .backlog import Backlog, Piece
from .messages import Assignment, Connection, Done, Failed, Message, connect
from .team import address
from .view import Observer, Row, View
from .witness import Witness

LOOK_SECONDS = 0.05
STALL_SECONDS = 60.0
SETTLE_SECONDS = 0.5
SEND_SECONDS = 5.0


class DemoFailed(Exception):
    """The job cannot be finished."""


class _Member:
    """An incarnation of an agent, as its entry last stood, and what it has in hand."""

    def __init__(self, entry: adsum.Entry) -> None:
        self.entry = entry
        self.connection: Connection | None = None
        self.number = 0
        self.piece: Piece | None = None

    @property
    def name(self) -> str:
        return self.entry.process_id.local_id


class Coordinator:
    """Runs one job. `chaos` is the pipe whose end means that no agent will be started any more."""

    def __init__(
        self,
        witness: Witness,
        registration: adsum.Registration,
        backlog: Backlog,
        chaos: IO[bytes],
        observe: Observer,
    ) -> None:
        self._witness = witness
        self._registration = registration
        self._backlog = backlog
        self._observe = observe
        self._members: dict[adsum.ProcessId, _Member] = {}
        self._left: dict[str, Row] = {}
        self._pieces: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(chaos, selectors.EVENT_READ)
        self._started = self._moved = time.monotonic()
        self._looked = 0.0
        self.seconds = 0.0
        self.deaths = 0
        self.given_again = 0
        self.news: list[str] = []

    def run(self) -> None:
        """Until every file is done. Errors: `DemoFailed`, and what the observer raises."""
        while self._backlog.done < self._backlog.files:
            self._assign()
            self._turn()
        self.seconds = time.monotonic() - self._started
        # Chaos sees in the coordinator's entry that the work is done; who died at the last moment is yet to be missed.
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            self._turn()

    def close(self) -> None:
        for member in self._members.values():
            self._hang_up(member)
        self._selector.close()

    def _turn(self) -> None:
        for key, _ in self._selector.select(LOOK_SECONDS):
            if key.data is None:
                raise DemoFailed("whoever starts the agents has failed")
            self._receive(key.data)
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._look()

    # Giving work

    def _assign(self) -> None:
        for stage in self._backlog.stages():
            while stage in self._backlog.stages():
                member = self._find(stage)
                if member is None:
                    break
                self._give(member, stage)

    def _find(self, stage: str) -> _Member | None:
        """A healthy member who can do it, has nothing in hand, and can be reached."""
        entry = self._witness.choose(capability=stage, where=self._is_free)
        if entry is None:
            return None
        member = self._meet(entry)
        if member.connection is None:
            try:
                member.connection = connect(address(entry.metadata.endpoint), SEND_SECONDS)
            except OSError:
                # Perhaps it died since. If not, it will be found again.
                self._still_there(member)
                return None
            self._selector.register(member.connection, selectors.EVENT_READ, member)
        return member if self._still_there(member) else None

    def _is_free(self, entry: adsum.Entry) -> bool:
        member = self._members.get(entry.process_id)
        return member is None or member.piece is None or member.entry.incarnation != entry.incarnation

    def _give(self, member: _Member, stage: str) -> None:
        connection = member.connection
        if connection is None:
            return
        member.piece, work = self._backlog.take(stage)
        member.number = next(self._numbers)
        try:
            connection.send(Assignment(member.number, work))
        except OSError:
            self._hang_up(member)
            self._still_there(member)

    def _receive(self, member: _Member) -> None:
        if member.connection is None:
            return
        try:
            messages = member.connection.receive()
        except OSError:
            self._hang_up(member)
            self._still_there(member)
            return
        for message in messages:
            self._take(member, message)

    def _take(self, member: _Member, message: Message) -> None:
        if isinstance(message, Failed):
            raise DemoFailed(message.why)
        if not isinstance(message, Done) or member.piece is None or message.number != member.number:
            raise DemoFailed(f"{member.name} answered what it was not asked")
        self._backlog.finish(member.piece, message.product)
        self._pieces[member.name] += 1
        self._moved = time.monotonic()
        member.piece = None

    def _hang_up(self, member: _Member) -> None:
        if member.connection is not None:
            self._selector.unregister(member.connection)
            member.connection.close()
            member.connection = None

    # Learning of deaths

    def _still_there(self, member: _Member) -> bool:
        """Ask the registry. If the answer is no, the member is dead, and what it had in hand waits for another."""
        entry = self._witness.lookup(member.entry.process_id)
        if entry is not None and entry.incarnation == member.entry.incarnation:
            member.entry = entry
            return True
        self._bury(member)
        return False

    def _bury(self, member: _Member) -> None:
        self.deaths += 1
        del self._members[member.entry.process_id]
        self._hang_up(member)
        self._left[member.name] = self._row(member)._replace(pid=None, incarnation=None, health=None, at="gone")
        what = f"{member.name} (pid {member.entry.pid}) is gone"
        if member.piece is not None:
            self.given_again += 1
            self._backlog.give_back(member.piece)
            what += f"; {member.piece.stage} {member.piece.name} goes to another"
        self.news.append(what)

    def _meet(self, entry: adsum.Entry) -> _Member:
        """The member behind an entry, known or new."""
        known = self._members.get(entry.process_id)
        if known is not None and known.entry.incarnation == entry.incarnation:
            return known
        if known is not None:
            self._bury(known)
        member = self._members[entry.process_id] = _Member(entry)
        if self._left.pop(member.name, None):
            self.news.append(f"{member.name} is back: pid {entry.pid}, incarnation {entry.incarnation}")
        return member

    def _look(self) -> None:
        """Look at everybody, tell everybody how far the work is, and let the observer see."""
        self._looked = now = time.monotonic()
        if now > self._moved + STALL_SECONDS:
            raise DemoFailed(f"nobody finished anything for {STALL_SECONDS:g} s")
        for member in list(self._members.values()):
            self._still_there(member)
        for entry in self._witness.find(type="agent"):
            self._meet(entry)
        self._publish()
        self._observe(self._view(now))

    def _publish(self) -> None:
        """Progress and acquaintances, in the coordinator's own entry, for whoever wants to know."""
        progress = progress_of(self._backlog)
        met = sorted(member.entry.incarnation for member in self._members.values())
        known = self._registration.entry.metadata
        if known.resources != progress or known.custom.get("met") != met:
            self._registration.update(resources=progress, custom={"met": met})

    # Showing

    def _view(self, now: float) -> View:
        rows = [*map(self._row, self._members.values()), *self._left.values()]
        return View(
            registry=str(self._witness.registry.folder),
            namespace=self._witness.registry.namespace,
            rows=sorted(rows),
            done=self._backlog.done,
            files=self._backlog.files,
            seconds=self.seconds or now - self._started,
            deaths=self.deaths,
            news=self.news,
        )

    def _row(self, member: _Member) -> Row:
        entry = member.entry
        return Row(
            name=member.name,
            abilities=", ".join(sorted(entry.metadata.capabilities)),
            pid=entry.pid,
            incarnation=entry.incarnation,
            health=entry.metadata.health_status,
            pieces=self._pieces[member.name],
            at=member.piece.name if member.piece else "",
        )


def progress_of(backlog: Backlog) -> dict[str, int | float | str]:
    return {"files_done": backlog.done, "files": backlog.files}
