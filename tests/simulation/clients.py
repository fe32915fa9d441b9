"""The clients of a simulated registry: their requests, the replies they read, and those they wait for."""

from __future__ import annotations

from collections import Counter

import msgspec

from adsum.model import Owner

from . import reading
from .asks import Ask
from .ledger import Ledger, Name
from .strategies import IMPOSSIBLE_OWNERS
from .world import World


class Clients:
    """Their part of the protocol: numbers, receipts, and asking again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger()
        self.pending: list[Ask] = []
        self.ended: list[tuple[Owner, bytes]] = []
        self._sessions: dict[Owner, bytes] = {}
        self._numbers: Counter[bytes] = Counter()
        self._keys: set[bytes] = set()

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
        """A client closes its registry, and drops the requests that were not answered."""
        session = self.session_of(process)
        del self._sessions[process]
        self.pending = [ask for ask in self.pending if ask.session != session]
        self.ended.append((process, session))
        self.world.sessions.over.add(session)
        now = self.world.clock.nanoseconds
        self.world.core.receipts.cut_off(session, now)
        self.ledger.close(session, now)

    def read_replies(self) -> None:
        """Slow clients catch up."""
        for name in list(self.ledger.unread):
            self._hand_over(name)

    def tick(self, seconds: float) -> None:
        """Time passes, and the registrar looks at its clock."""
        self.world.clock.advance(seconds)
        self.world.core.receipts.expire(self.world.clock.nanoseconds)
        self.ledger.expire(self.world.clock.nanoseconds)

    def _hand_over(self, name: Name) -> None:
        self.world.core.receipts.sent(*name)
        self.ledger.read(name)
