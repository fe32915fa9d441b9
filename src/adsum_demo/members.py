"""The agents as the coordinator knows them."""

from __future__ import annotations

import adsum

from .backlog import Piece
from .messages import Connection
from .view import Row


class Member:
    """An incarnation of an agent, as the watch last told of it, and what it has in hand."""

    def __init__(self, entry: adsum.Entry) -> None:
        self.entry = entry
        self.connection: Connection | None = None
        # When the connection broke (monotonic); a dead one is taken out soon after.
        self.cut = 0.0
        self.number = 0
        self.piece: Piece | None = None
        # Numbers of pieces that were taken back; the answers may still come.
        self.taken_back: set[int] = set()

    @property
    def name(self) -> str:
        return self.entry.process_id.local_id

    @property
    def is_stuck(self) -> bool:
        """Whether the registrar says so: a sign of life is late. What an agent says of itself is another matter."""
        return self.entry.health_source is adsum.HealthSource.registrar

    def is_incarnation_of(self, entry: adsum.Entry | None) -> bool:
        return entry is not None and entry.incarnation == self.entry.incarnation

    def row(self, pieces: int) -> Row:
        return Row(
            name=self.name,
            abilities=", ".join(sorted(self.entry.metadata.capabilities)),
            pid=self.entry.pid,
            incarnation=self.entry.incarnation,
            health=self.entry.metadata.health_status,
            pieces=pieces,
            at=self.piece.name if self.piece else "",
        )
