"""Replies that were committed and may not have reached their client.

A registrar can be killed between a commit and the reply. So the replies of a batch are stored in the batch's own
transaction; the next registrar finds them, and a client that asks again is given the reply instead of a second change.
Every write therefore happens once, and its caller learns how it went.
"""

from __future__ import annotations

from collections.abc import Iterable

from .._store.layout import Receipt

KEEP_NS = 60 * 10**9


class Receipts:
    """What the tables remember: the unsent replies of this registrar and of the one before."""

    def __init__(self, inherited: Iterable[Receipt], now: int) -> None:
        self._open = {(receipt.session, receipt.number): receipt.reply for receipt in inherited}
        self._kept_until = dict.fromkeys(self._open, now + KEEP_NS)
        # Sent, and still in the tables until the next commit.
        self._sent: list[tuple[bytes, int]] = []

    @property
    def to_forget(self) -> list[tuple[bytes, int]]:
        """What the next commit is to take out of the tables."""
        return self._sent

    def committed(self, receipts: Iterable[Receipt]) -> None:
        """A commit stored these, and took out what was to be forgotten."""
        self._sent = []
        for receipt in receipts:
            self._open[receipt.session, receipt.number] = receipt.reply

    def claim(self, session: bytes, number: int) -> bytes | None:
        """The reply to a request that was carried out before; None where it was not."""
        return self._open.get((session, number))

    def sent(self, session: bytes, number: int) -> None:
        """The reply is in the client's socket, where it outlives this registrar."""
        if self._open.pop((session, number), None) is not None:
            self._kept_until.pop((session, number), None)
            self._sent.append((session, number))

    def drained(self, session: bytes) -> None:
        """Everything for this session has gone out, or it will not ask again."""
        for key in [key for key in self._open if key[0] == session]:
            self.sent(*key)

    def orphaned(self, session: bytes, now: int) -> None:
        """The connection was cut from this side: its client may come back on another and ask."""
        for key in self._open:
            if key[0] == session:
                self._kept_until[key] = now + KEEP_NS

    def expire(self, now: int) -> None:
        """Forget replies that nobody came back for."""
        for key in [key for key, until in self._kept_until.items() if until < now]:
            self.sent(*key)
