"""The replies that a registrar must be able to give a second time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adsum._engine.receipts import KEEP_NS, Receipts
from adsum._store.layout import Receipt

SESSIONS = (b"one", b"other")
_names = st.tuples(st.sampled_from(SESSIONS), st.integers(1, 4))


class ReceiptsMachine(RuleBasedStateMachine):
    """Commits, replies and restarts; `due` are the replies that have to be there, `stored` the rows of the tables."""

    @initialize()
    def begin(self) -> None:
        self.now = 0
        self.made = 0
        self.stored: list[Receipt] = []
        self.due: dict[tuple[bytes, int], bytes] = {}
        self.until: dict[tuple[bytes, int], int] = {}
        self.receipts = Receipts([], self.now)

    @rule(names=st.lists(_names, unique=True, max_size=3))
    def commit(self, names: list[tuple[bytes, int]]) -> None:
        """A session's numbers only grow, so one that is still due is not made again."""
        batch = []
        for session, number in names:
            if (session, number) not in self.due:
                self.made += 1
                batch.append(Receipt(session, number, f"reply {self.made}".encode()))
        forgotten = set(self.receipts.obsolete)
        assert forgotten <= {(receipt.session, receipt.number) for receipt in self.stored}
        self.stored = [r for r in self.stored if (r.session, r.number) not in forgotten] + batch
        self.receipts.committed(batch)
        self.due |= {(receipt.session, receipt.number): receipt.reply for receipt in batch}
        assert {(r.session, r.number): r.reply for r in self.stored} == self.due
        assert len(self.stored) == len(self.due)

    @rule(name=_names)
    def send(self, name: tuple[bytes, int]) -> None:
        self.receipts.sent(*name)
        self._forget(name)

    @rule(session=st.sampled_from(SESSIONS))
    def cut_off(self, session: bytes) -> None:
        self.receipts.cut_off(session, self.now)
        self.until |= {name: self.now + KEEP_NS for name in self.due if name[0] == session}

    @rule(seconds=st.sampled_from((1, 30, 61)))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds * 10**9
        self.receipts.expire(self.now)
        for name in [name for name, until in self.until.items() if until < self.now]:
            self._forget(name)

    @precondition(lambda self: self.stored)
    @rule()
    def restart(self) -> None:
        """The next registrar finds the rows of the last commit, and keeps them for a time."""
        self.receipts = Receipts(self.stored, self.now)
        self.due = {(r.session, r.number): r.reply for r in self.stored}
        self.until = dict.fromkeys(self.due, self.now + KEEP_NS)

    @invariant()
    def due_replies_are_there_and_no_others(self) -> None:
        if hasattr(self, "receipts"):
            for session in SESSIONS:
                for number in range(1, 5):
                    assert self.receipts.reply_to(session, number) == self.due.get((session, number))

    def _forget(self, name: tuple[bytes, int]) -> None:
        self.due.pop(name, None)
        self.until.pop(name, None)


TestReceipts = ReceiptsMachine.TestCase
TestReceipts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, print_blob=True)
