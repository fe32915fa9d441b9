"""The decisions: a batch of deaths and requests in, a `Decision` out.

The order inside a batch is part of the promises. Deaths come before requests, so that no request of the batch meets an
entry whose owner is known to be dead. Sessions that ended come next, then the requests in the order of their arrival,
and missed heartbeats after them, for one may be among the requests. Then slots that became free go to claims that wait.
Exits are noted last, with the departures that all of these have made.
"""

from __future__ import annotations

from collections.abc import Collection

from ..model import Limits, Owner
from .batch import Batch, Decision, Instant, Kernel
from .draft import View
from .handlers import answer
from .memory import Memory
from .round import Round


class Engine:
    """Decides for one registry, under its limits. `node` is the registry's own, for ids that name none. `memory` is the
    caller's: a decision changes nothing in it."""

    def __init__(self, limits: Limits, kernel: Kernel, memory: Memory, node: str = "") -> None:
        self._limits = limits
        self._node = node
        self._kernel = kernel
        self.memory = memory

    def decide(self, view: View, batch: Batch, now: Instant, dead: Collection[Owner] = ()) -> Decision:
        """Decide one batch. `dead` are owners that died since the kernel was asked; they count as dead throughout."""
        round = Round(self._limits, self._kernel, self.memory, view, now, dead, self._node, batch.hears)
        if batch.hears is not None:
            # First, so that what the hosts say is reported for a moment at which they can be reached, or cannot.
            round.mirroring.report_all()
        # Standbys of ended sessions go first, so that no death in the same batch grants them an id.
        for ended in batch.ended:
            round.succession.end_session(ended.session)
            if round.has_claims:
                round.claims.end_session(ended.session)
        for death in batch.deaths:
            detection = 0.0 if death.noticed is None else (now.monotonic - death.noticed) / 1e9
            round.remove_dead(death.owner, "died", detection)
        for ended in batch.ended:
            round.remove_bound(ended.owner, ended.session)
        replies = [answer(round, call) for call in batch.calls]
        for late in batch.late:
            round.note_lateness(late)
        if round.has_claims:
            round.claims.grant_waiting()
        for exited in batch.exits:
            round.draft.note_exit(exited.owner, exited.code)
        return round.decision(batch.deaths, replies)
