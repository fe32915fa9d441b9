"""A registrar that can be started, driven and killed within one process: everything real but time and processes."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

from adsum._engine.batch import Batch, Call, Death, Decision, EndedSession, Instant
from adsum._engine.draft import View
from adsum._engine.engine import Engine
from adsum._engine.heartbeats import Lateness
from adsum._engine.memory import Memory
from adsum._member_row import heartbeat_at, key_for
from adsum._os.log import Log
from adsum._registrar.ports import Ports
from adsum._registrar.replies import OutgoingReply
from adsum._registrar.start import open_registry
from adsum._registrar.sweep import sweep
from adsum._registrar.wiring import build_core
from adsum._store import audit
from adsum._store import page as pages
from adsum._store.environment import Environment
from adsum._store.hosts import HostWords
from adsum._store.member_rows import MemberRows
from adsum._store.tables import Retention
from adsum.errors import RegistryFull
from adsum.model import Limits, Owner

from . import reading
from .asks import Ask
from .processes import Processes, SimulatedWatch
from .reading import Tables

KEEP_ALL = Retention()
SILENT = Log(io.StringIO())
SECOND = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Crash(BaseException):
    """The registrar is killed at this instruction."""


# The registrar is killed, gets an error, or is stopped for so many seconds.
Injection: TypeAlias = "BaseException | float"


class SimulatedClock:
    """The clocks of a machine, which is never suspended. Only the wall clock can be set back."""

    def __init__(self) -> None:
        self.utc = datetime(2026, 1, 1, tzinfo=UTC)
        self.nanoseconds = 10**12

    def advance(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)
        self.nanoseconds += int(seconds * SECOND)

    def set_wall(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)

    def instant(self) -> Instant:
        return Instant(self.utc, self.nanoseconds)

    def monotonic_ns(self) -> int:
        return self.nanoseconds

    def boottime_ns(self) -> int:
        return self.nanoseconds

    def worked_ns(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.nanoseconds / SECOND


class UnsettledPage(pages.Page):
    """A page as a killed registrar leaves it: the counters that it had marked stay odd."""

    killed = False

    def settle(self, ids: Iterable[int], keys: Iterable[int] = ()) -> None:
        if not self.killed:
            super().settle(ids, keys)


class RecordingEngine(Engine):
    """The engine, with the decision that it made last and the time of that. It fails on chosen requests."""

    decision: Decision
    now: Instant
    fails_on: Collection[tuple[bytes, int]] = ()

    def decide(self, view: View, batch: Batch, now: Instant, dead: Collection[Owner] = ()) -> Decision:
        self.now = now
        self.decision = super().decide(view, batch, now, dead)
        if any((call.session, call.number) in self.fails_on for call in batch.calls):
            raise ArithmeticError("an injected defect")
        return self.decision


class SimulatedSessions:
    """The kernel's answers about sessions: those in `over` ended, though their processes may be alive."""

    def __init__(self) -> None:
        self.over: set[bytes] = set()

    def is_over(self, session: bytes) -> bool:
        return session in self.over

    def forget(self, session: bytes) -> None:
        self.over.add(session)


class Outcome(NamedTuple):
    """The outcome of a batch. `answers` is None where the registrar was killed, or could not commit it."""

    answers: list[OutgoingReply] | None
    alive: bool
    marked: set[int]
    injected: bool = False
    # The missed heartbeats when the registrar looked, and the time of that.
    late: list[Lateness] = []  # noqa: RUF012
    looked: int = 0


class World:
    """One machine with one registry."""

    def __init__(self, limits: Limits, *, inodes: bool = True, retention: Retention = KEEP_ALL) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="adsum-simulation-", dir="/dev/shm"))
        self.limits = limits
        self.retention = retention
        self.clock = SimulatedClock()
        self.processes = Processes(inodes=inodes)
        self.sessions = SimulatedSessions()
        self.injections: dict[str, list[Injection]] = {}
        # The counters that were odd just before the last commit; finding them costs as much as the commit.
        self.observing = True
        self.marked: set[int] = set()
        self._injected = False
        self.start()

    def start(self) -> bool:
        """Start a registrar on the tables of the last one. False when it was killed before it served."""
        environment, page, limits = open_registry(self.folder, self.limits, self._failpoint, SILENT)
        self.page = UnsettledPage(page.mapped, page.board)
        self.watch = SimulatedWatch(self.processes)
        self.engine = RecordingEngine(limits, self.watch, Memory())
        self.marked = set()
        ports = Ports(self.watch, self.sessions, self.clock, self._failpoint, SILENT)
        self.core = build_core(environment, self.page, limits, self.engine, ports, self.retention)
        try:
            sweep(self.core, ports)
        except Crash:
            self.kill()
            return False
        self.page.announce(Owner(1, 1, 1), self.clock.nanoseconds)
        return True

    def kill(self) -> None:
        """The registrar is gone; its commits stay."""
        self.environment.close()

    def move(self, injected: Sequence[Injection] = (), step: str = "") -> bool:
        """Make the registrar go over to fresh tables, as if the old had grown. False when it was killed on the way."""
        self.injections = {step: list(injected)}
        try:
            self.core.generations.renew()
        except Crash:
            self.kill()
            return False
        finally:
            self.injections = {}
        return True

    def close(self) -> None:
        self.environment.close()
        shutil.rmtree(self.folder)

    def commit(
        self,
        deaths: Sequence[Owner] = (),
        ended: Sequence[tuple[Owner, bytes]] = (),
        asks: Sequence[Ask] = (),
        others: Sequence[Call] = (),
    ) -> Outcome:
        """Give the registrar one batch: the requests of members, and `others`, which are the bridge's."""
        noticed = self.clock.nanoseconds
        calls: list[Call] = [*(ask.call() for ask in asks), *others]
        self.marked, self._injected = set(), False
        late = self.core.members.late(noticed)
        outcome = Outcome(None, alive=True, marked=self.marked, late=late, looked=noticed)
        try:
            batch = Batch(
                [Death(owner, noticed) for owner in deaths],
                [EndedSession(owner, session) for owner, session in ended],
                calls,
                late,
            )
            answers: list[OutgoingReply] = []
            self.core.committer.commit(batch, answers.extend)
        except Crash:
            self.kill()
            return outcome._replace(alive=False)
        except RegistryFull:
            return outcome
        finally:
            self.injections = {}
        return outcome._replace(answers=answers, injected=self._injected)

    def _failpoint(self, step: str) -> None:
        """A named step of the registrar; `injections` says what happens there, in order."""
        if step == "before_commit" and self.observing:
            self.marked |= {bucket for bucket, count in enumerate(self.page.counters) if count & 1}
        if waiting := self.injections.get(step):
            injection = waiting.pop(0)
            if isinstance(injection, float):
                self.clock.advance(injection)
                return
            self._injected = True
            if isinstance(injection, Crash):
                self.page.killed = True
            raise injection

    # Observation

    @property
    def environment(self) -> Environment:
        return self.core.generations.current

    def tables(self) -> Tables:
        """As readers see them."""
        tables = reading.read(self.environment.lmdb)
        walls = {number: self._wall_of(number, place) for number, place in tables.places.items()}
        return tables.with_heartbeats({number: EPOCH + wall * MICROSECOND for number, wall in walls.items() if wall})

    def _wall_of(self, incarnation: int, place: int) -> int:
        return self._rows.heartbeat(heartbeat_at(place), key_for(place, incarnation)).wall

    def leave_heartbeat(self, incarnation: int, place: int) -> bool:
        """A member leaves a heartbeat in shared memory. False where it has to ask the registrar."""
        at, key = heartbeat_at(place), key_for(place, incarnation)
        wall = max((self.clock.utc - EPOCH) // MICROSECOND, self._wall_of(incarnation, place))
        return at < self._rows.ready and self._rows.leave_heartbeat(at, key, self.clock.nanoseconds, wall)

    @property
    def host_words(self) -> HostWords:
        """The words of other hosts on the board."""
        return self.page.board.host_words(self.clock.boottime_ns)

    @property
    def _rows(self) -> MemberRows:
        return self.page.board.rows

    def receipts(self) -> dict[tuple[bytes, int], bytes]:
        return reading.receipts(self.environment.lmdb)

    def audit(self) -> list[str]:
        with self.environment.lmdb.begin() as txn:
            return audit.violations(txn, self.environment)

    def outcomes(self) -> Counter[str]:
        return Counter(self.core.counters.outcomes)
