"""Exits that become known after the death: noticed here, and written once the death is in etcd.

Noting an exit is no change of the registry (docs/decisions/0048-exits.md): it has no revision, and a watch has no event
of it. But the bell rings, and the departure of a death that was published without an exit is looked at again then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from .._store.layout import key_of
from ..model import Departure, Entry
from .records import EndRecord

# So many deaths are remembered, each for so long: an exit that becomes known later stays here.
MOST_DEATHS = 1000
KEEP_SECONDS = 60.0
# A process is mostly reaped in a moment. The exits of that moment are looked for together.
LOOK_SECONDS = 0.02


class AwaitedExits:
    """The deaths of members here whose exit is not known yet. `departure_of` gives that of an entry which was removed
    at a revision; `on_exit` is called with each exit that has become known."""

    def __init__(self, departure_of: Callable[[Entry, int], Departure | None]) -> None:
        self._departure_of = departure_of
        self.on_exit: Callable[[EndRecord], None] = _nothing
        # By the revision of the death: the entry, and until when it is remembered.
        self._deaths: dict[int, tuple[Entry, float]] = {}
        self._looking: asyncio.TimerHandle | None = None

    def add(self, entry: Entry, revision: int) -> None:
        """A member died, and its exit is not known."""
        self._deaths[revision] = entry, asyncio.get_running_loop().time() + KEEP_SECONDS
        if len(self._deaths) > MOST_DEATHS:
            del self._deaths[next(iter(self._deaths))]

    def look_soon(self) -> None:
        """An exit may have become known."""
        if self._deaths and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        for revision, (entry, until) in list(self._deaths.items()):
            departure = self._departure_of(entry, revision)
            exit = None if departure is None else departure.exit
            if exit is not None:
                self.on_exit(EndRecord(key_of(entry.process_id), "died", exit, entry.incarnation))
            if exit is not None or now >= until:
                del self._deaths[revision]

    def clear(self) -> None:
        """The registry was made anew, or is closed."""
        self._deaths.clear()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


class UnwrittenExits:
    """The exits that are to be written: each after the end that it is about."""

    def __init__(self) -> None:
        self._exits: dict[tuple[bytes, int], EndRecord] = {}
        # The exits of one transaction are on their way at a time.
        self.flying = False

    def add(self, end: EndRecord) -> None:
        self._exits[end.key, end.incarnation] = end
        if len(self._exits) > MOST_DEATHS:
            del self._exits[next(iter(self._exits))]

    def ready(self, is_pending: Callable[[EndRecord], bool], most: int) -> list[EndRecord]:
        """Those that can be written now, `most` at most: their ends are in etcd."""
        if self.flying or not self._exits:
            return []
        return [one for one in self._exits.values() if not is_pending(one)][:most]

    def written(self, exits: Iterable[EndRecord]) -> None:
        for one in exits:
            self._exits.pop((one.key, one.incarnation), None)

    def clear(self) -> None:
        self._exits.clear()


def _nothing(_end: EndRecord) -> None:
    return None
