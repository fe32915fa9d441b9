"""The backlog: requests that wait for a batch, within bounds.

Clients that ask faster than batches are committed must not fill the registrar's memory. So the backlog is bounded twice
for all clients together, by number (`Limits.max_pending`) and by bytes. Each client's own share is counted at its
connection, so that a client that floods is paused before others are refused.
"""

from __future__ import annotations

from collections import deque

from .. import _wire as wire
from .connection import MAX_BUFFERED_BYTES, AcceptedConnection


class Requests:
    """Requests in the order of their arrival, at most `most` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: deque[tuple[AcceptedConnection, wire.Envelope, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        return len(self._queue) >= self._most or self._bytes > MAX_BUFFERED_BYTES

    def add(self, connection: AcceptedConnection, envelope: wire.Envelope, size: int) -> None:
        self._queue.append((connection, envelope, size))
        self._bytes += size
        connection.waiting += 1

    def take(self, most: int) -> list[tuple[AcceptedConnection, wire.Envelope]]:
        """The next ones, at most so many."""
        taken: list[tuple[AcceptedConnection, wire.Envelope]] = []
        while self._queue and len(taken) < most:
            connection, envelope, size = self._queue.popleft()
            self._bytes -= size
            connection.waiting -= 1
            taken.append((connection, envelope))
        return taken
