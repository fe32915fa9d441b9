"""Batches into the tables: decide, mark, commit, settle.

The order is the promise. The page's counters of every id that changes become odd before the commit, so that no reader
trusts what it kept from the moment the new state can be seen; they settle after it, and only then do replies go out
(L5). A crash before the commit changed nothing; a crash after it left the replies in the tables (see `receipts`).
"""

from __future__ import annotations

import logging
import mmap
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .. import _wire as wire
from .._os import session as session_files
from .._os.liveness import DeathWatch
from .._store import tables
from .._store.environment import Environment, compact_copy, remove_other_generations
from .._store.layout import Receipt, key_of
from .._store.page import Page, bucket_of
from ..errors import AdsumError, InvalidMetadata, RegistryFull
from ..model import Limits, Owner
from .batch import Batch, Call, Clock, Death, Decision
from .counters import Counters
from .engine import Engine
from .failpoints import failpoint
from .heartbeats import Heartbeats
from .receipts import Receipts

log = logging.getLogger("adsum.registrar")

PAGE_BYTES = mmap.PAGESIZE
MOVE_AGAIN_SECONDS = 1.0
# How much of the memory limit the history may take beside the entries, at most.
HISTORY_SHARE = 1 / 8
# The deadline of a request whose answer may come at any time.
NEVER = 2**63 - 1


class Answer(NamedTuple):
    """A reply, framed, and whether a receipt of it is kept until it was sent. It `binds` its session where something
    lives or waits in that from now on."""

    call: Call
    data: bytes
    kept: bool
    binds: bool = False


class _TooLate(Exception):
    """The deadline of a decided request passed before its commit."""


class Committer:
    """Owns the tables of one registry, and the only one that changes them."""

    def __init__(self, environment: Environment, page: Page, limits: Limits, kernel: DeathWatch) -> None:
        self.environment = environment
        self.page = page
        self.kernel = kernel
        self.limits = limits
        self.engine = Engine(limits, kernel)
        self.heartbeats = Heartbeats(limits)
        with tables.write(environment) as before:
            self.receipts = Receipts(before.receipts(), time.monotonic_ns())
            self.counters = Counters(before.stats())
            self.entries = before.entries
            page.revision = before.revision
            page.entries = before.entries
        self.commits = 0
        self._move_again_at = 0.0

    def sweep(self) -> dict[bytes, Owner]:
        """Watch every owner, and bury those that died while no registrar ran. Returns the sessions that entries live
        in, with their owners."""
        with tables.write(self.environment) as before:
            owners = before.owners()
            waiting = [(one.owner, one.session) for one in before.all_standing_by()]
            bound = [(session, owner) for owner, session in waiting]
            for record in [record for owner in owners for record in before.owned(owner)]:
                self.heartbeats.inherit(key_of(record.entry.process_id), record.entry, time.monotonic_ns())
                if record.session:
                    bound.append((record.session, record.entry.owner))
        noticed = time.monotonic_ns()
        dead = [Death(owner, noticed) for owner in owners if not self.kernel.watch(owner)]
        failpoint("sweeping")
        # Who does not wait any more inherits nothing from the dead.
        over = [one for one in waiting if session_files.is_over(self.environment.folder, one[1])]
        if dead or over:
            try:
                self.commit(Batch(deaths=dead, ended=over))
                log.info("swept %d dead owners", len(dead))
            except RegistryFull as error:
                # Reads go on without them; they are buried as soon as there is room to write.
                log.warning("could not sweep %d dead owners: %s", len(dead), error)
        return dict(bound)

    def commit(self, batch: Batch) -> list[Answer]:
        """Decide and commit a batch. The answers are ready to be sent when this returns."""
        try:
            return self._commit(batch)
        except RegistryFull as error:
            # No page left, whatever was estimated: let go of what asks for room and of the history, and carry out what
            # gives room back. Whoever watches is told that it missed something.
            log.warning("no room for a batch: %s", error)
            self.check_growth()
            refused = [call for call in batch.calls if not isinstance(call.request, wire.Unregister)]
            rest = [call for call in batch.calls if isinstance(call.request, wire.Unregister)]
            return self._commit(batch._replace(calls=rest), history=False) + self.fail(refused, error)
        except AdsumError:
            raise
        except Exception as error:
            # A request that the engine chokes on is a defect of ours; it must cost nobody but its sender.
            log.exception("a batch of %d requests cannot be decided", len(batch.calls))
            if not batch.calls:
                raise
            answers = self._commit(batch._replace(calls=())) if batch.deaths or batch.ended or batch.late else []
            if len(batch.calls) > 1:
                return answers + [answer for call in batch.calls for answer in self._commit_alone(call)]
            return answers + self.fail(batch.calls, _defect(error))

    def _commit_alone(self, call: Call) -> list[Answer]:
        try:
            return self._commit(Batch(calls=[call]))
        except AdsumError as error:
            return self.fail([call], error)
        except Exception as error:  # noqa: BLE001 - logged with the batch it came in
            return self.fail([call], _defect(error))

    def _commit(self, batch: Batch, *, history: bool = True) -> list[Answer]:
        while True:
            try:
                return self._commit_in_time(batch, HISTORY_SHARE * self.limits.max_memory_bytes if history else 0)
            except _TooLate:
                # This process was stopped or starved since the decision, and callers may have given up: decide anew.
                continue

    def _commit_in_time(self, batch: Batch, history_bytes: float) -> list[Answer]:
        clock = Clock(datetime.now(UTC), time.monotonic_ns())
        marked: set[int] = set()
        receipts: list[Receipt] = []
        try:
            with tables.write(self.environment) as now:
                decision = self.engine.decide(now, batch, clock)
                if decision.writes:
                    marked = {bucket_of(change.key) for change in decision.changes}
                    marked |= {bucket_of(key_of(record.entry.process_id)) for record in decision.touched}
                    self.page.mark(marked)
                    now.apply(decision.changes, decision.departures, history_bytes=history_bytes)
                    # After what registers them, for rows are appended in the order of their incarnations.
                    now.touch(decision.touched)
                    now.stand_by(decision.joined, decision.withdrawn)
                answers = _answers(batch.calls, decision)
                if decision.writes:
                    receipts = [Receipt(a.call.session, a.call.number, a.data) for a in answers if a.kept]
                    now.keep_receipts(receipts, self.receipts.to_forget)
                    failpoint("before_commit")
                    _require_in_time(answers)
        except BaseException:
            self._release_unused(batch)
            raise
        finally:
            # Also when nothing was committed: a counter that moved only makes readers look.
            self.page.settle(marked)
        failpoint("after_commit")
        if decision.writes:
            self.page.revision = now.revision
            self.receipts.committed(receipts)
        self.entries += sum((c.after is not None) - (c.before is not None) for c in decision.changes)
        self.page.entries = self.entries
        self.commits += bool(decision.changes)
        for reply in decision.replies:
            self.counters.count(reply.reason if isinstance(reply, wire.Failed) else "ok")
        self._after(decision, batch)
        if decision.changes:
            self.check_growth()
        return answers

    def _release_unused(self, batch: Batch) -> None:
        """Whom a decision began to watch that came to nothing."""
        with tables.write(self.environment) as now:
            heirs = [waiting.owner for waiting in now.all_standing_by()]
            for owner in [*(getattr(call.request, "owner", None) for call in batch.calls), *heirs]:
                if owner is not None and owner in self.kernel and not now.count_owned(owner):
                    self.kernel.unwatch(owner)

    def _after(self, decision: Decision, batch: Batch) -> None:
        for owner in decision.released:
            self.kernel.unwatch(owner)
        gone = time.monotonic_ns()
        for change in decision.changes:
            self.heartbeats.follow(change, gone)
        for incarnation in decision.signs:
            self.heartbeats.sign(incarnation, gone)
        for death in batch.deaths:
            self.counters.cleaned((gone - death.noticed) / 1e9)

    def fail(self, calls: Sequence[Call], error: AdsumError) -> list[Answer]:
        """The answers to calls that could not be carried out."""
        for _ in calls:
            self.counters.count(error.reason)
        return [Answer(call, wire.frame(wire.failure(call.number, error)), kept=False) for call in calls]

    def keep_stats(self, pending: int) -> None:
        """Leave the counters where readers find them."""
        if self.counters.changed:
            self.counters.changed = False
            with tables.write(self.environment) as now:
                now.keep_stats(self.counters.stats(pending, len(self.kernel.scanned)))

    def is_in_place(self) -> bool:
        """Whether readers that open the folder now find what is committed here."""
        return self.page.is_in(self.environment.folder)

    def check_readers(self) -> None:
        """Free the slots of readers that died, whose snapshots would keep pages from being used again."""
        self.environment.lmdb.reader_check()

    def check_growth(self) -> None:
        """Move to fresh tables when the old have grown far beyond what they hold.

        A reader that was stopped inside a read keeps its snapshot, and with it every page freed since: the file would
        grow with each commit until nothing can be written. In fresh tables nobody holds a snapshot; the stopped reader
        keeps the old ones, which have no name any more, and comes over when it goes on.
        """
        info = self.environment.lmdb.info()
        if info["last_pgno"] * PAGE_BYTES < info["map_size"] // 2 or time.monotonic() < self._move_again_at:
            return
        self.check_readers()
        with tables.write(self.environment) as now:
            if now.measure() > self.limits.max_memory_bytes * 3 // 4:
                return
        try:
            self._move()
        except AdsumError as error:
            self._move_again_at = time.monotonic() + MOVE_AGAIN_SECONDS
            log.warning("could not move to fresh tables: %s", error)

    def _move(self) -> None:
        old = self.environment
        fresh = compact_copy(old, self.page.map_size, self.limits.max_readers)
        failpoint("before_switch")
        self.environment = fresh
        # From here on readers go to the fresh tables; nothing was committed in between.
        self.page.switch(fresh.generation, self.page.map_size)
        failpoint("after_switch")
        old.close()
        remove_other_generations(fresh.folder, fresh.generation)
        log.info("moved to fresh tables, generation %d", fresh.generation)


def _defect(error: Exception) -> AdsumError:
    return InvalidMetadata(f"metadata: the registrar cannot carry out this request ({error!r})")


def _answers(calls: Sequence[Call], decision: Decision) -> list[Answer]:
    # First what was granted: one who gives up its place in the same batch takes the answer to that for the last word.
    answers = []
    for waiting, reply in decision.grants:
        request = wire.StandBy(
            process_id=waiting.process_id,
            owner=waiting.owner,
            fields=waiting.fields,
        )
        answers.append(_answer(Call(waiting.session, waiting.number, NEVER, request, waiting.owner), reply))
    return answers + [_answer(call, reply) for call, reply in zip(calls, decision.replies, strict=True)]


def _answer(call: Call, reply: wire.AnyReply) -> Answer:
    # What comes late is kept even where it is an error: nobody can be told it by being asked again.
    late = isinstance(reply, wire.Failed) and call.deadline == NEVER
    done = isinstance(reply, wire.Done) and reply.changed
    bound = isinstance(call.request, wire.Register) and call.request.bound
    return Answer(call, wire.frame(reply), kept=late or done, binds=isinstance(reply, wire.Queued) or (bound and done))


def _require_in_time(answers: Sequence[Answer]) -> None:
    now = time.monotonic_ns()
    if any(answer.kept and answer.call.deadline < now for answer in answers):
        raise _TooLate
