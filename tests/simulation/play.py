"""One registry, its clients and its faults, beside the model.

`Play` follows a script: the state machine's, found and shrunk by Hypothesis, or a seeded driver's. It plays
the clients' part of the protocol (numbers, receipts, asking again after a crash) and compares every reply and every
state with the model. A difference raises `AssertionError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any

from adsum import _wire as wire
from adsum._engine.heartbeats import Lateness
from adsum._registrar.replies import OutgoingReply
from adsum._store.tables import Retention
from adsum.errors import RegistryFull
from adsum.model import Limits, Owner

from . import checks, past, reading
from .asks import Ask, Id
from .clients import Clients
from .expected import Expected, Turn, compare
from .faults import Fault, injections_of
from .ledger import Name
from .model import Model
from .world import Crash, Outcome, World

KEEP_DEPARTURES = 12
KEEP_HISTORY = 20
NEVER = 2**62


class Play(Clients):
    """`check_every` says after how many commits all tables are read; replies and revisions are always compared."""

    def __init__(
        self,
        limits: Limits,
        *,
        inodes: bool = True,
        keep_departures: int = KEEP_DEPARTURES,
        keep_history: int = KEEP_HISTORY,
        check_every: int = 1,
    ) -> None:
        retention = Retention(departures=keep_departures, changes=keep_history)
        super().__init__(World(limits, inodes=inodes, retention=retention))
        self.world.observing = check_every == 1
        self.model = Model(limits, keep_departures)
        self.limits = limits
        self.check_every = check_every
        self.keep_history = keep_history
        # The revision up to which the history was lost because memory was short.
        self.forgotten = 0
        self.commits = 0
        self.seen: Counter[str] = Counter()
        self._kernel: Callable[[Owner], bool] = self.world.processes.is_alive
        self._lived: set[Owner] = set()
        self._reader = checks.CarefulReader()
        self._last = self.world.tables()

    def close(self) -> None:
        self.world.close()

    # The registrar

    def commit(self, fault: Fault = "answered", *, notice: bool = True) -> None:
        """One batch: the pending requests, the deaths (if they were reported: `notice`), the ended sessions."""
        deaths = self.world.watch.deaths() if notice else []
        asks, self.pending = self.pending, []
        if self.world.processes.fuses and fault in ("no_room", "no_room_at_all", "stopped"):
            # The registrar decides such a batch twice, the model once.
            fault = "answered"
        self.world.injections = injections_of(fault)
        self._kernel = self._same_kernel()
        self._lived = set(self.world.processes.living)
        counted = self.world.outcomes()
        outcome = self.world.commit(deaths, self.ended, asks)
        self.world.processes.burn()
        if not outcome.alive:
            self._killed(fault, deaths, asks, outcome)
            return
        self._require(self.model.promises.violations(outcome.late, outcome.looked))
        if outcome.answers is None:
            # The server keeps the deaths and sessions of such a batch, and refuses its requests.
            self.world.core.committer.refuse([ask.call() for ask in asks], RegistryFull("no room"))
            self.world.core.heartbeats.retry(outcome.late, self.world.clock.nanoseconds)
            self.model.promises.retry(self.world.clock.nanoseconds)
            self._check(outcome.marked)
            return
        replies = {_name(a): reading.reply(a.data) for a in outcome.answers if a.deadline is not None}
        assert replies.keys() == {ask.name for ask in asks}, f"{asks} were answered {replies}"
        words = Counter(str(reply[2]) if reply[0] == "failed" else "ok" for reply in replies.values())
        self.seen += words
        counted = self.world.outcomes() - counted
        assert counted == words, f"the registrar counted {counted} and answered {words}"
        self._answered(outcome, deaths, asks, replies, read=fault != "unread")

    def leave_heartbeat(self, owner: Owner, id: Id) -> None:
        """A process leaves a heartbeat in shared memory, if it holds the id, and has promised some."""
        entry = self.model.holders.get(id)
        if entry is None or Owner(*entry.owner) != owner or entry.metadata["heartbeat"] is None:
            return
        place = reading.place_of(self.world.environment.lmdb, entry.incarnation)
        left = self.world.leave_heartbeat(entry.incarnation, place)
        self.seen["left" if left else "late"] += 1
        if left:
            assert entry.source != "registrar", f"a late member left a heartbeat that takes nothing back: {entry}"
            self.model.left_heartbeat(id, self.world.clock.utc, self.world.clock.nanoseconds)
            if self.world.observing:
                # No commit has made this difference.
                self._last = self.world.tables()

    def commit_with_a_defect(self) -> None:
        """One batch, the newest request of which the engine fails on."""
        self.world.engine.fails_on = [ask.name for ask in self.pending[-1:]]
        self.commit()
        self.world.engine.fails_on = ()

    def _same_kernel(self) -> Callable[[Owner], bool]:
        """The kernel that the model asks: it gives the same answers as the registrar's, one by one."""
        living, fuses = set(self.world.processes.living), dict(self.world.processes.fuses)

        def is_alive(owner: Owner) -> bool:
            if owner in fuses and owner in living:
                if fuses[owner] == 0:
                    living.discard(owner)
                fuses[owner] -= 1
            return owner in living

        return is_alive

    def _answered(
        self, outcome: Outcome, deaths: Sequence[Owner], asks: list[Ask], replies: dict[Name, list[Any]], *, read: bool
    ) -> None:
        full = [ask for ask in asks if replies[ask.name][2:3] == ["registry_full"]]
        carried = [ask for ask in asks if not (outcome.injected and ask in full)]
        granted = [(_name(a), reading.reply(a.data)) for a in outcome.answers or () if a.deadline is None]
        unlucky = [name for name, reply in granted if reply[2] == "registry_full"]
        revision = self.model.revision
        expected = self._advance(deaths, carried, full, unlucky, outcome.late)
        if outcome.injected:
            self.forgotten = max(self.forgotten, self.model.revision if self.model.revision > revision else 0)
        for ask, wanted in zip(carried, expected, strict=True):
            compare(ask, wanted, replies[ask.name], self._lived)
        assert [name for name, _ in granted] == [ask.name for ask, _ in self.model.granted], f"granted were {granted}"
        for (ask, wanted), (_, reply) in zip(self.model.granted, granted, strict=True):
            compare(ask, wanted, reply, self._lived)
        made = {ask.name for ask, wanted in zip(carried, expected, strict=True) if wanted.succeeded}
        late = [ask for ask in asks if ask.name in made and ask.deadline < self.world.clock.nanoseconds]
        assert not late, f"L1: {late} were carried out after their deadline"
        made |= {name for name, _ in granted}
        kept = {_name(a): a.data for a in outcome.answers or () if a.kept}
        assert kept.keys() == made, f"receipts are kept of {kept.keys()}, changes were {made}"
        self.ledger.made(kept)
        self._check(outcome.marked)
        if self.model.revision != revision:
            self._require(self.ledger.violations(self.world.receipts(), made))
        if read:
            for name in made:
                self._hand_over(name)
        else:
            self.ledger.unread |= kept

    def _advance(
        self,
        deaths: Sequence[Owner],
        asks: Sequence[Ask],
        full: Sequence[Ask],
        unlucky: Sequence[Name],
        late: Sequence[Lateness],
    ) -> list[Expected]:
        """Let the model take the batch. Where the registry says that memory is short, see that this can be."""
        now = self.world.engine.now
        positions = {place for place, ask in enumerate(asks) if ask in full}
        failing = {place for place, ask in enumerate(asks) if ask.name in self.world.engine.fails_on}
        committed = self.world.clock.nanoseconds
        turn = Turn(self._kernel, now.utc, now.monotonic, committed, positions, failing, unlucky)
        expected = self.model.commit(deaths, self.ended, asks, turn, late)
        self.ended = []
        if self.model.believed:
            assert checks.short_of_memory(self._last, asks, self.limits), (
                f"no room was found with {self._last.bytes_used} bytes used"
            )
        return expected

    # Crashes

    def _killed(self, fault: Fault, deaths: Sequence[Owner], asks: list[Ask], outcome: Outcome) -> None:
        if fault != "killed_after":
            self.restart(kill=False)
            self._ask_later(asks)
            return
        decision = self.world.engine.decision
        full = [ask for ask, reply in zip(asks, decision.replies, strict=True) if _is_full(reply)]
        unlucky = [(grant.standby.session, grant.standby.number) for grant in decision.grants if _is_full(grant.reply)]
        committed = list(zip(asks, self._advance(deaths, asks, full, unlucky, outcome.late), strict=True))
        self.restart(kill=False, committed=committed, granted=self.model.granted, marked=outcome.marked)
        self._ask_later(asks)

    def _ask_later(self, asks: Sequence[Ask]) -> None:
        """Clients that got no reply and find no receipt ask again, under the same number."""
        done = {ask.name for ask in self.pending} | self.ledger.confirmed.keys()
        self.pending += [ask for ask in asks if ask.name not in done]

    def restart(
        self,
        *,
        kill: bool = True,
        killed_at: str | None = None,
        committed: Sequence[tuple[Ask, Expected]] = (),
        granted: Sequence[tuple[Ask, Expected]] = (),
        marked: Set[int] = frozenset(),
    ) -> None:
        """The registrar is killed, if it was not yet, and another one starts; `killed_at` names the step at which the
        first that tries is killed too. Then clients repeat the requests that have no reply."""
        if kill:
            self.world.kill()
        self.world.injections = {killed_at: [Crash()]} if killed_at else {}
        # The kernel's answers to each registrar that commits its sweep.
        kernels = [self._same_kernel()]
        while not self.world.start():
            if killed_at == "after_commit":
                marked = marked | self.world.marked
            else:
                kernels.pop()
            kernels.append(self._same_kernel())
            self.world.injections = {}
        self.world.injections = {}
        granted = [*granted, *(grant for kernel in kernels for grant in self._swept(kernel))]
        self._ask_again(committed, granted)
        stored = self.world.receipts()
        self._require(self.ledger.restart(stored, self.world.clock.nanoseconds) + self.ledger.untrue(stored))
        for name in [ask.name for ask, _ in [*committed, *granted] if ask.name in stored]:
            self._hand_over(name)
        self._check(marked | self.world.marked)

    def _swept(self, is_alive: Callable[[Owner], bool]) -> list[tuple[Ask, Expected]]:
        """The sweep: every member has its full time anew, standbys of ended sessions and entries of dead owners are
        removed. Returns the grants that this makes."""
        clock = self.world.clock
        self.model.promises.begin(list(self.model.holders.values()), clock.nanoseconds)
        over = [(one.owner, one.session) for one in self.model.queues if one.session in self.world.sessions.over]
        dead = sorted(owner for owner in self.model.owners if not is_alive(owner))
        replies = {name: reading.reply(data) for name, data in self.world.receipts().items()}
        unlucky = [name for name, reply in replies.items() if reply[2] == "registry_full"]
        now = clock.nanoseconds
        turn = Turn(is_alive, clock.utc, now, now, no_room_for=unlucky)
        self.model.commit(dead, over, [], turn)
        return self.model.granted

    def move(self, killed_at: str = "") -> None:
        """The registrar moves to fresh tables; nothing is lost, and readers see no change."""
        if self.world.move([Crash()] if killed_at else [], killed_at):
            self._check(set())
        else:
            self.restart(kill=False)

    def _ask_again(self, committed: Sequence[tuple[Ask, Expected]], granted: Sequence[tuple[Ask, Expected]]) -> None:
        claim = self.world.core.receipts.reply_to
        for name, data in self.ledger.unread.items():
            assert claim(*name) == data, f"{name} was answered {data!r}, and then {claim(*name)!r}"
        # Queued and granted before the first reply was sent: the reply in the end is the grant.
        late = {ask.name for ask, _ in granted}
        for ask, wanted in [*(one for one in committed if one[0].name not in late), *granted]:
            receipt = claim(*ask.name)
            assert (receipt is not None) == (wanted.succeeded or ask.name in late), (
                f"{ask} was carried out {wanted}, its receipt: {receipt!r}"
            )
            if receipt is not None:
                compare(ask, wanted, reading.reply(receipt), self._lived)
                self.ledger.confirmed[ask.name] = receipt
        self.pending = [ask for ask in self.pending if ask.name not in late]
        for ask in self.pending:
            assert claim(*ask.name) is None, f"{ask} was never carried out and has a receipt"
        # Standbys ask again, so that the new registrar knows their connections, and wait without a deadline.
        self._ask_later([replace(ask, deadline=NEVER) for ask in self.model.queues])

    # Checks

    def _check(self, marked: Set[int]) -> None:
        """The checks after a commit. `marked` are the counters that were odd before it."""
        self.commits += 1
        assert self.world.core.committer.entries == len(self.model.holders)
        self._require(checks.monitored(self.model.holders.values(), self.world.watch.watched))
        if self.commits % self.check_every == 0:
            self.look(marked)

    def look(self, marked: Set[int] | None = None) -> None:
        """Read all tables, and check them."""
        tables = self.world.tables()
        newest, memory = self.model.revision - self.forgotten, self.limits.max_memory_bytes
        least = min(self.keep_history, newest) if memory == Limits().max_memory_bytes else 0
        wrong = [
            *checks.sound(tables, self.limits),
            *checks.free_rows(tables, self.world.engine.memory.free_rows),
            *checks.agrees(tables, self.model),
            *self.model.queues.violations(tables.standing_by),
            *past.wrong_rows(tables, self.model.changes, least),
            *past.wrong_steps(self.world.environment, self.model.changes, len(tables.history)),
            *checks.never_again(self._last, tables),
            *self._reader.look(self.world.environment.lmdb, self.world.page.counters, self._keys),
            *(f"audit: {violation}" for violation in self.world.audit()),
        ]
        if marked is not None and self.world.observing:
            wrong += checks.unmarked(self._last, tables, marked)
        self._last = tables
        self._require(wrong)

    def _require(self, wrong: list[str]) -> None:
        assert not wrong, "\n".join(wrong)


def _name(answer: OutgoingReply) -> Name:
    return answer.session, answer.number


def _is_full(reply: wire.AnyReply) -> bool:
    return isinstance(reply, wire.Failed) and reply.reason == "registry_full"
