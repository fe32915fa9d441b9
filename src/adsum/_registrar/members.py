"""What members write into shared memory, as the registrar follows it: their rows on the board, and their heartbeats.

Before a commit a row gets memory; after it the member may write there, and what it promised is known.
"""

from collections.abc import Callable

from .._engine.batch import Decision
from .._engine.free_rows import FreeMemberRows
from .._engine.heartbeats import Heartbeats, Lateness
from .._os.log import Log
from .._store.page import Page
from ..errors import RegistryFull
from ..model import Entry
from .generations import Generations
from .ports import Clock


class Members:
    """The members of one registry. `present` makes of a stored entry what it is now: with a heartbeat that is in shared
    memory alone."""

    def __init__(
        self,
        page: Page,
        generations: Generations,
        heartbeats: Heartbeats,
        free_rows: FreeMemberRows,
        clock: Clock,
        log: Log,
    ) -> None:
        self._page = page
        self._rows = page.board.rows
        self._generations = generations
        self._heartbeats = heartbeats
        self._free_rows = free_rows
        self._clock = clock
        self._log = log
        self.present: Callable[[Entry], Entry] = self._rows.with_heartbeat

    def take_up(self, entry: Entry) -> None:
        """An entry of an earlier registrar keeps its row, with what is written there where the board is still the
        same."""
        self._free_rows.take_up(entry)
        try:
            self._allocate([entry])
        except RegistryFull as error:
            # Its gauges stay as they were registered.
            self._log.warning("%s", error)
        self._rows.begin(entry)

    def late(self, looked: int) -> list[Lateness]:
        """The members that became late until the registrar `looked`. Their next heartbeats are requests."""
        late = self._heartbeats.late(looked)
        if not late:
            return late
        for one in late:
            self._rows.require_requests(one.place)
        late, punctual = self._heartbeats.confirm(late, self._clock.monotonic_ns())
        for one in punctual:
            self._rows.allow_heartbeats(one.place)
        return late

    def allocate_rows(self, decision: Decision) -> None:
        """Before the commit, which is none where there is no memory for gauges. The rows are written after it: one of
        them may be another entry's still, which keeps it where the commit fails."""
        begun = [entry for change in decision.changes if (entry := change.begun_row) is not None]
        if begun:
            self._allocate(begun)

    def _allocate(self, entries: list[Entry]) -> None:
        self._page.board.allocate_rows(self._generations.current.folder, entries)

    def follow(self, decision: Decision) -> None:
        """Before the replies: members write into their rows, and a promise is known should this registrar die."""
        now = self._clock.monotonic_ns()
        for change in decision.changes:
            self._heartbeats.follow(change, now)
            if (ended := change.ended_row) is not None:
                self._rows.end(ended)
            if (begun := change.begun_row) is not None:
                self._rows.begin(begun)
        for incarnation in decision.heartbeats:
            self._rows.allow_heartbeats(self._heartbeats.received(incarnation, now))
        self._page.promises = len(self._heartbeats)
