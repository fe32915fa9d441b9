"""The other hosts of the cluster, as the registrar follows them: their rows in memory, their words on the board, and
whether the bridge hears from the cluster.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from .. import _wire as wire
from .._engine.batch import Batch, Decision
from .._engine.known_hosts import KnownHosts
from .._store.hosts import HostWords
from .._store.layout import HostRow, HostState
from .._store.page_layout import HOSTS


class ClusterHosts:
    """The hosts that the engine knows, and the words by which readers know them."""

    def __init__(self, known: KnownHosts, words: HostWords) -> None:
        self._known = known
        self._words = words

    def __bool__(self) -> bool:
        """Whether any other host is known."""
        return bool(self._known.rows)

    @property
    def entries(self) -> int:
        """How many entries are of members of other hosts."""
        return self._known.entries

    def take_up(self, rows: Sequence[HostRow], entries: int) -> None:
        """The hosts of the cluster that an earlier registrar knew, with so many entries in all."""
        self._known.take_up(rows, entries)
        # Also those of hosts that are gone: the earlier registrar may have been killed before it took them back.
        here = {row.number for row in rows if row.state is HostState.here}
        for number in range(HOSTS):
            self._words.set_here(number, number in here)

    def hearing(self) -> Batch | None:
        """A batch in which watches learn that the bridge hears nothing any more, so that no other host can be reached,
        or that it hears again; None where they know."""
        rows = self._known.rows.values()
        if not rows:
            return None
        hears = self._words.hears()
        return None if all(row.reported is row.present(hears=hears) for row in rows) else Batch(hears=hears)

    def with_hearing(self, batch: Batch) -> Batch:
        """Other hosts say something: it counts for readers only while the bridge hears from the cluster."""
        for call in batch.calls:
            if isinstance(call.request, wire.ApplyRemote):
                return replace(batch, hears=self._words.hears())
        return batch

    def follow(self, decision: Decision) -> None:
        """After the commit, so that no reader takes a host for here before it can see all that the host has said."""
        numbers = {row.host: row.number for row in self._known.rows.values()} if decision.hosts else {}
        for host, row in decision.hosts:
            number = numbers.get(host, 0) if row is None else row.number
            self._words.set_here(number, row is not None and row.state is HostState.here)
        self._known.follow(decision.hosts, decision.changes)
