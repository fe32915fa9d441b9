"""Receipts: replies that were committed and may not have reached their client.

This is the reply log of exactly-once RPC (RIFL: Lee et al., "Implementing Linearizability at Large Scale and Low
Latency", SOSP 2015). A registrar can be killed between a commit and the reply. So the replies of a batch are stored in
the batch's own transaction, each under its session and number; the next registrar finds them, and a client that sends
its request again gets the stored reply instead of a second change. Every write therefore happens once, and its caller
learns how it went.

A receipt is obsolete once its reply is in the client's socket, where it outlives the registrar. The next commit removes
it from the tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from .._store.layout import Receipt

KEEP_NS = 60 * 10**9


class Receipts:
    """The receipts in the tables: of this registrar, and of the one before."""

    def __init__(self, inherited: Iterable[Receipt], now: int) -> None:
        self._unsent = {(receipt.session, receipt.number): receipt.reply for receipt in inherited}
        self._kept_until = dict.fromkeys(self._unsent, now + KEEP_NS)
        # Of replies that were sent, and still in the tables until the next commit.
        self._obsolete: list[tuple[bytes, int]] = []

    @property
    def obsolete(self) -> list[tuple[bytes, int]]:
        """Session and number of each receipt that the next commit is to remove."""
        return self._obsolete

    def committed(self, receipts: Iterable[Receipt]) -> None:
        """A commit stored these, and removed the obsolete ones."""
        self._obsolete = []
        for receipt in receipts:
            self._unsent[receipt.session, receipt.number] = receipt.reply

    def reply_to(self, session: bytes, number: int) -> bytes | None:
        """The framed reply to a request that was carried out before; None if it was not."""
        return self._unsent.get((session, number))

    def sent(self, session: bytes, number: int) -> None:
        """The reply is in the client's socket."""
        if self._unsent.pop((session, number), None) is not None:
            self._kept_until.pop((session, number), None)
            self._obsolete.append((session, number))

    def cut_off(self, session: bytes, now: int) -> None:
        """The connection of a session is closed: the client may come back on another one and ask."""
        for key in self._unsent:
            if key[0] == session:
                self._kept_until[key] = now + KEEP_NS

    def expire(self, now: int) -> None:
        """Drop the replies whose clients did not come back in time."""
        for key in [key for key, until in self._kept_until.items() if until < now]:
            self.sent(*key)
