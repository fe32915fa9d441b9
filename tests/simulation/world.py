"""A registrar that can be started, driven and killed within one process: everything real but time and processes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast
from unittest.mock import patch

from adsum._os.liveness import DeathWatch
from adsum._registrar import committer as committing
from adsum._registrar import start as starting
from adsum._registrar.batch import Batch, Call, Clock, Death, Decision
from adsum._registrar.committer import Answer, Committer
from adsum._registrar.draft import View
from adsum._registrar.engine import Engine
from adsum._registrar.heartbeats import Lateness
from adsum._store import audit, history, tables
from adsum._store import page as pages
from adsum._store.environment import Environment
from adsum.errors import RegistryFull
from adsum.model import Limits, Owner

from . import reading
from .asks import Ask
from .processes import Processes, SimulatedWatch
from .reading import Tables

SECOND = 10**9


class Crash(BaseException):
    """The registrar is killed at this instruction."""


# The registrar is killed, gets an error, or is stopped for so many seconds.
Trouble: TypeAlias = "BaseException | float"


class SimulatedClock:
    """Both clocks of a machine. Only the wall clock can be set back."""

    def __init__(self) -> None:
        self.utc = datetime(2026, 1, 1, tzinfo=UTC)
        self.nanoseconds = 10**12

    def advance(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)
        self.nanoseconds += int(seconds * SECOND)

    def set_wall(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)

    def now(self, _zone: tzinfo) -> datetime:
        return self.utc

    def monotonic_ns(self) -> int:
        return self.nanoseconds

    def monotonic(self) -> float:
        return self.nanoseconds / SECOND


class UnsettledPage(pages.Page):
    """A page as a killed registrar leaves it: what it had marked stays so."""

    killed = False

    def settle(self, buckets: Iterable[int]) -> None:
        if not self.killed:
            super().settle(buckets)


class RecordingEngine(Engine):
    """The engine, and the decision it made last, with the time it was made for. It chokes on chosen requests."""

    decision: Decision
    clock: Clock
    chokes_on: Collection[tuple[bytes, int]] = ()

    def decide(self, view: View, batch: Batch, clock: Clock) -> Decision:
        self.clock = clock
        self.decision = super().decide(view, batch, clock)
        if any((call.session, call.number) in self.chokes_on for call in batch.calls):
            raise ArithmeticError("a defect that nobody has thought of")
        return self.decision


class Outcome(NamedTuple):
    """What became of a batch. `answers` is None where the registrar was killed, or could not commit it."""

    answers: list[Answer] | None
    alive: bool
    marked: set[int]
    troubled: bool = False
    # Who was late when the registrar looked, and when that was.
    late: list[Lateness] = []  # noqa: RUF012
    looked: int = 0


class World:
    """One machine with one registry."""

    def __init__(
        self,
        limits: Limits,
        *,
        inodes: bool = True,
        keep_departures: int | None = None,
        keep_history: int | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="adsum-simulation-", dir="/dev/shm"))
        self.limits = limits
        self.clock = SimulatedClock()
        self.processes = Processes(inodes=inodes)
        self.trouble: dict[str, list[Trouble]] = {}
        # Sessions that are over though their process lives.
        self.over: set[bytes] = set()
        # The counters that were odd just before the last commit; finding them costs as much as the commit.
        self.observing = True
        self.marked: set[int] = set()
        self._troubled = False
        self._patches = ExitStack()
        for name, instead in (("datetime", self.clock), ("time", self.clock), ("failpoint", self._failpoint)):
            self._patches.enter_context(patch.object(committing, name, instead))
        self._patches.enter_context(patch.object(committing, "session_files", self, create=True))
        self._patches.enter_context(patch.object(committing, "Engine", RecordingEngine))
        self._patches.enter_context(patch.object(pages, "Page", UnsettledPage))
        self._patches.enter_context(patch.object(committing.log, "disabled", True))
        if keep_departures is not None:
            self._patches.enter_context(patch.object(tables, "MAX_DEPARTURES", keep_departures))
        if keep_history is not None:
            self._patches.enter_context(patch.object(history, "MAX_HISTORY", keep_history))
        self.start()

    def start(self) -> bool:
        """Start a registrar on what the last one left. False when it was killed before it served."""
        environment, self.page, limits = starting._open_registry(self.folder, self.limits)
        self.watch = SimulatedWatch(self.processes)
        self.marked = set()
        self.committer = Committer(environment, self.page, limits, cast(DeathWatch, self.watch))
        try:
            self.committer.sweep()
        except Crash:
            self.kill()
            return False
        self.page.announce(Owner(1, 1, 1), self.clock.nanoseconds)
        return True

    def kill(self) -> None:
        """The registrar is gone; what it had committed stays."""
        self.environment.close()

    def move(self, trouble: Sequence[Trouble] = (), step: str = "") -> bool:
        """Make the registrar go over to fresh tables, as if the old had grown. False when it was killed on the way."""
        self.trouble = {step: list(trouble)}
        try:
            with patch.object(committing, "PAGE_BYTES", 2**40):
                self.committer.check_growth()
        except Crash:
            self.kill()
            return False
        finally:
            self.trouble = {}
        return True

    def close(self) -> None:
        self.environment.close()
        self._patches.close()
        shutil.rmtree(self.folder)

    def commit(
        self, deaths: Sequence[Owner] = (), ended: Sequence[tuple[Owner, bytes]] = (), asks: Sequence[Ask] = ()
    ) -> Outcome:
        """Give the registrar one batch."""
        noticed = self.clock.nanoseconds
        calls: list[Call] = [ask.call() for ask in asks]
        self.marked, self._troubled = set(), False
        late = self.committer.heartbeats.late(noticed)
        outcome = Outcome(None, alive=True, marked=self.marked, late=late, looked=noticed)
        try:
            buried = [Death(owner, noticed) for owner in deaths]
            answers = self.committer.commit(Batch(buried, list(ended), calls, late))
        except Crash:
            self.kill()
            return outcome._replace(alive=False)
        except RegistryFull:
            return outcome
        finally:
            self.trouble = {}
        return outcome._replace(answers=answers, troubled=self._troubled)

    def is_over(self, _folder: Path, session: bytes) -> bool:
        """What the kernel says of a session."""
        return session in self.over

    def _failpoint(self, step: str) -> None:
        """A named step of the registrar; `trouble` says what happens there, in order of arrival."""
        if step == "before_commit" and self.observing:
            self.marked |= {bucket for bucket, count in enumerate(self.page.counters) if count & 1}
        if waiting := self.trouble.get(step):
            trouble = waiting.pop(0)
            if isinstance(trouble, float):
                self.clock.advance(trouble)
                return
            self._troubled = True
            if isinstance(trouble, Crash):
                cast(UnsettledPage, self.page).killed = True
            raise trouble

    # What there is to see

    @property
    def environment(self) -> Environment:
        return self.committer.environment

    def tables(self) -> Tables:
        return reading.read(self.environment.lmdb)

    def receipts(self) -> dict[tuple[bytes, int], bytes]:
        return reading.receipts(self.environment.lmdb)

    def audit(self) -> list[str]:
        with self.environment.lmdb.begin() as txn:
            return audit.violations(txn, self.environment)

    def outcomes(self) -> Counter[str]:
        return Counter(self.committer.counters.outcomes)

    @property
    def engine(self) -> RecordingEngine:
        return cast(RecordingEngine, self.committer.engine)
