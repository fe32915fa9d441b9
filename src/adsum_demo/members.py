"""The agents as the coordinator knows them."""

from __future__ import annotations

import adsum

from .backlog import Piece
from .messages import Connection
from .view import Row


class Member:
    """One incarnation of an agent: its entry as of the last event, and the piece of work in hand."""

    def __init__(self, entry: adsum.Entry) -> None:
        self.entry = entry
        self.connection: Connection | None = None
        # When the connection broke (monotonic). A dead agent is removed soon after.
        self.disconnected_at = 0.0
        self.number = 0
        self.piece: Piece | None = None
        # Its host cannot be reached.
        self.is_lost = False
        # The numbers of assignments that were taken back; their answers may still come.
        self.taken_back: set[int] = set()

    @property
    def name(self) -> str:
        return self.entry.process_id.local_id

    @property
    def is_stuck(self) -> bool:
        """Whether the registrar has set the health, because a heartbeat is late. An agent sets its own health, too."""
        return self.entry.health_source is adsum.HealthSource.registrar

    def is_incarnation_of(self, entry: adsum.Entry | None) -> bool:
        return entry is not None and entry.incarnation == self.entry.incarnation

    def row(self, pieces: int) -> Row:
        return Row(
            name=self.name,
            capabilities=", ".join(sorted(self.entry.metadata.capabilities)),
            pid=self.entry.pid,
            incarnation=self.entry.incarnation,
            health=self.entry.metadata.health_status,
            pieces=pieces,
            at="unreachable" if self.is_lost else self.piece.name if self.piece else "",
            host=self.entry.process_id.node,
        )
