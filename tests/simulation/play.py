"""One registry, its clients and its troubles, beside the model of what should come of them.

`Play` does what a script tells it: the state machine's, found and shrunk by Hypothesis, or a seeded driver's. It plays
the clients' part of the protocol (numbers, receipts, asking again after a crash) and compares every reply and every
state with the model. A difference raises `AssertionError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import Any

import msgspec

from adsum import _wire as wire
from adsum.errors import RegistryFull
from adsum.model import Limits, Owner

from . import checks, reading
from .asks import Ask
from .fates import Fate, trouble_of
from .ledger import Ledger, Name
from .model import Expected, Model, Turn, compare
from .strategies import IMPOSSIBLE_OWNERS
from .world import Crash, Outcome, World

KEEP_DEPARTURES = 12


class Play:
    """`check_every` says after how many commits all tables are read; replies and revisions are always compared."""

    def __init__(
        self, limits: Limits, *, inodes: bool = True, keep_departures: int = KEEP_DEPARTURES, check_every: int = 1
    ) -> None:
        self.world = World(limits, inodes=inodes, keep_departures=keep_departures)
        self.world.observing = check_every == 1
        self.model = Model(limits, keep_departures)
        self.ledger = Ledger()
        self.limits = limits
        self.check_every = check_every
        self.commits = 0
        self.pending: list[Ask] = []
        self.ended: list[tuple[Owner, bytes]] = []
        self.seen: Counter[str] = Counter()
        self._sessions: dict[Owner, bytes] = {}
        self._numbers: Counter[bytes] = Counter()
        self._kernel: Callable[[Owner], bool] = self.world.processes.is_alive
        self._lived: set[Owner] = set()
        self._reader = checks.CarefulReader()
        self._keys: set[bytes] = set()
        self._last = self.world.tables()

    def close(self) -> None:
        self.world.close()

    # Clients

    def session_of(self, process: Owner) -> bytes:
        if process not in self._sessions:
            self._sessions[process] = f"session {len(self._numbers)} of {process.pid}".encode()
            self._numbers[self._sessions[process]] = 0
        return self._sessions[process]

    def next_number(self, session: bytes) -> int:
        self._numbers[session] += 1
        return self._numbers[session]

    def ask(self, ask: Ask) -> None:
        """A request arrives at the registrar and waits there, unless it cannot even be decoded."""
        try:
            ask.call()
        except msgspec.ValidationError:
            flawed = any(item.flaw for item in ask.items) or ask.owner in IMPOSSIBLE_OWNERS
            assert flawed, f"{ask} is sound and was not understood"
            return
        self.pending.append(ask)
        self._keys.update(reading.id_key(item.id) for item in ask.items if not item.flaw)

    def end_session(self, process: Owner) -> None:
        """A client closes its registry: what it asked and was not answered is nobody's business any more."""
        session = self.session_of(process)
        del self._sessions[process]
        self.pending = [ask for ask in self.pending if ask.session != session]
        self.ended.append((process, session))
        self.world.committer.receipts.drained(session)
        self.ledger.close(session)

    def read_replies(self) -> None:
        """Slow clients catch up."""
        for name in list(self.ledger.unread):
            self._hand_over(name)

    def tick(self, seconds: float) -> None:
        """Time passes, and the registrar looks at its clock."""
        self.world.clock.advance(seconds)
        self.world.committer.receipts.expire(self.world.clock.nanoseconds)
        self.ledger.expire(self.world.clock.nanoseconds)

    def _hand_over(self, name: Name) -> None:
        self.world.committer.receipts.sent(*name)
        self.ledger.read(name)

    # The registrar

    def commit(self, fate: Fate = "answered", *, notice: bool = True) -> None:
        """One batch: what was asked, who died (if the kernel's word has come), which sessions ended."""
        deaths = self.world.watch.deaths() if notice else []
        asks, self.pending = self.pending, []
        if self.world.processes.fuses and fate in ("no_room", "no_room_at_all", "stopped"):
            # The registrar decides such a batch twice, the model once.
            fate = "answered"
        self.world.trouble = trouble_of(fate)
        self._kernel = self._dying_as_told()
        self._lived = set(self.world.processes.living)
        counted = self.world.outcomes()
        outcome = self.world.commit(deaths, self.ended, asks)
        self.world.processes.burn()
        if not outcome.alive:
            self._killed(fate, deaths, asks, outcome.marked)
            return
        if outcome.answers is None:
            # The server keeps the deaths and sessions of such a batch, and refuses its requests.
            self.world.committer.fail([ask.call() for ask in asks], RegistryFull("no room"))
            self._check(outcome.marked)
            return
        replies = {(a.call.session, a.call.request.number): reading.reply(a.data) for a in outcome.answers}
        assert replies.keys() == {ask.name for ask in asks}, f"{asks} were answered {replies}"
        words = Counter("ok" if reply[0] == "done" else str(reply[2]) for reply in replies.values())
        self.seen += words
        counted = self.world.outcomes() - counted
        assert counted == words, f"the registrar counted {counted} and answered {words}"
        self._answered(outcome, deaths, asks, replies, read=fate != "unread")

    def commit_with_a_defect(self) -> None:
        """One batch, the newest request of which the engine cannot digest."""
        self.world.engine.chokes_on = [ask.name for ask in self.pending[-1:]]
        self.commit()
        self.world.engine.chokes_on = ()

    def _dying_as_told(self) -> Callable[[Owner], bool]:
        """The kernel that the model asks: it gives the answers that the registrar's gives, one by one."""
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
        full = [ask for ask in asks if replies[ask.name][2] == "registry_full"]
        carried = [ask for ask in asks if not (outcome.troubled and ask in full)]
        revision = self.model.revision
        expected = self._advance(deaths, carried, full)
        for ask, wanted in zip(carried, expected, strict=True):
            compare(ask, wanted, replies[ask.name], self._lived)
        made = {ask.name for ask, wanted in zip(carried, expected, strict=True) if wanted.succeeded}
        late = [ask for ask in asks if ask.name in made and ask.deadline < self.world.clock.nanoseconds]
        assert not late, f"L1: {late} were carried out after their deadline"
        kept = {(a.call.session, a.call.request.number): a.data for a in outcome.answers or () if a.kept}
        assert kept.keys() == made, f"receipts are kept of {kept.keys()}, changes were {made}"
        self.ledger.made(kept)
        self._check(outcome.marked)
        if self.model.revision != revision:
            self._require(self.ledger.faults(self.world.receipts(), made))
        if read:
            for name in made:
                self._hand_over(name)
        else:
            self.ledger.unread |= kept

    def _advance(self, deaths: Sequence[Owner], asks: Sequence[Ask], full: Sequence[Ask]) -> list[Expected]:
        """Let the model take the batch. Where the registry says that memory is short, see that this can be."""
        clock = self.world.engine.clock
        positions = {place for place, ask in enumerate(asks) if ask in full}
        choking = {place for place, ask in enumerate(asks) if ask.name in self.world.engine.chokes_on}
        turn = Turn(self._kernel, clock.utc, clock.monotonic, positions, choking)
        expected = self.model.commit(deaths, self.ended, asks, turn)
        self.ended = []
        if self.model.believed:
            assert checks.short_of_memory(self._last, asks, self.limits), (
                f"no room was found with {self._last.bytes_used} bytes used"
            )
        return expected

    # Crashes

    def _killed(self, fate: Fate, deaths: Sequence[Owner], asks: list[Ask], marked: set[int]) -> None:
        expected: list[Expected] = []
        if fate == "killed_after":
            replies = self.world.engine.decision.replies
            full = [
                ask
                for ask, reply in zip(asks, replies, strict=True)
                if isinstance(reply, wire.Failed) and reply.reason == "registry_full"
            ]
            expected = self._advance(deaths, asks, full)
        marked = marked if fate == "killed_after" else set()
        self.restart(kill=False, committed=list(zip(asks, expected, strict=False)), marked=marked)
        made = {ask.name for ask, wanted in zip(asks, expected, strict=False) if wanted.succeeded}
        # Whoever got no reply and finds no receipt asks again, under the same number.
        self.pending += [ask for ask in asks if ask.name not in made]

    def restart(
        self,
        *,
        kill: bool = True,
        trouble: str | None = None,
        committed: Sequence[tuple[Ask, Expected]] = (),
        marked: Set[int] = frozenset(),
    ) -> None:
        """The registrar is killed, if it was not yet, and another one starts; `trouble` names the step at which the
        first that tries is killed too. Then clients ask again what they have no reply to."""
        if kill:
            self.world.kill()
        self.world.trouble = {trouble: [Crash()]} if trouble else {}
        while not self.world.start():
            marked = marked | (self.world.marked if trouble == "after_commit" else set())
            self.world.trouble = {}
        self.world.trouble = {}
        dead = sorted(owner for owner in self.model.owners if not self.world.processes.is_alive(owner))
        if dead:
            clock = self.world.clock
            self.model.commit(dead, [], [], Turn(self.world.processes.is_alive, clock.utc, clock.nanoseconds))
        self._ask_again(committed)
        stored = self.world.receipts()
        self._require(self.ledger.restart(stored, self.world.clock.nanoseconds) + self.ledger.untrue(stored))
        for name in [ask.name for ask, _ in committed if ask.name in stored]:
            self._hand_over(name)
        self._check(marked | self.world.marked)

    def move(self, killed_at: str = "") -> None:
        """The registrar goes over to fresh tables; nothing is lost, and nothing is seen of it."""
        if self.world.move([Crash()] if killed_at else [], killed_at):
            self._check(set())
        else:
            self.restart(kill=False)

    def _ask_again(self, committed: Sequence[tuple[Ask, Expected]]) -> None:
        claim = self.world.committer.receipts.claim
        for name, data in self.ledger.unread.items():
            assert claim(*name) == data, f"{name} was answered {data!r}, and then {claim(*name)!r}"
        for ask, wanted in committed:
            receipt = claim(*ask.name)
            assert (receipt is not None) == wanted.succeeded, (
                f"{ask} was carried out {wanted}, its receipt: {receipt!r}"
            )
            if receipt is not None:
                compare(ask, wanted, reading.reply(receipt), self._lived)
                self.ledger.confirmed[ask.name] = receipt
        for ask in self.pending:
            assert claim(*ask.name) is None, f"{ask} was never carried out and has a receipt"

    # Checks

    def _check(self, marked: Set[int]) -> None:
        """What must hold after a commit. `marked` are the counters that were odd before it."""
        self.commits += 1
        assert self.world.committer.entries == len(self.model.held)
        self._require(checks.monitored(self.model.held.values(), self.world.watch.watched))
        if self.commits % self.check_every == 0:
            self.look(marked)

    def look(self, marked: Set[int] | None = None) -> None:
        """Read all tables, and find in them what should be there."""
        tables = self.world.tables()
        wrong = [
            *checks.sound(tables, self.limits),
            *checks.agrees(tables, self.model),
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
