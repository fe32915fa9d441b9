"""What a process keeps of what it decoded, and what makes it trustworthy.

Decoding and checking a row costs more than finding it, so an entry that was read is kept, with its id's counter on the
page and where that stood before the read. For as long as the counter stands there nobody has committed anything about
that id (see `page`), and what was kept is still the truth; to know it costs one comparison.

It is kept in two halves. When the young half is full it becomes the old one, and what is used again comes back: least
recently used, near enough, at the price of a dict.

Kept entries are worth as much as the counters that vouch for them. So each `Decoded` belongs to one mapped page, and
when other tables become current it is left behind whole: a read that was under way meanwhile may still put into it what
it found, and nobody will see that.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple, TypeAlias

from ..model import Entry, Owner
from .page import BUCKETS

# An id, for lookups, or an incarnation, for queries.
Place: TypeAlias = "tuple[str, str, str] | bytes"

# Each half takes so many entries (about 1 KB each) or so many bytes of rows, whichever is less.
HALF_ENTRIES = 65_536
HALF_BYTES = 16 * 1024 * 1024


class Kept(NamedTuple):
    """A decoded entry and what makes it trustworthy: its id's counter on the page, and where that stood."""

    entry: Entry
    owner: Owner
    key: bytes
    bucket: int
    stood: int
    size: int


class Decoded:
    """What was decoded under one page's `counters`.

    Reads that must be quick look into `young`, `old` and `counters` themselves.
    """

    def __init__(self, counters: memoryview) -> None:
        self.counters = counters
        self.young: dict[Place, Kept] = {}
        self.old: dict[Place, Kept] = {}
        self._young_bytes = 0

    def get(self, place: Place) -> Kept | None:
        """What is kept in a place, as long as its counter stands where it stood."""
        kept = self.young.get(place)
        if kept is None:
            kept = self.old.pop(place, None)
            if kept is None:
                return None
            self.keep(place, kept)
        return kept if self.counters[kept.bucket] == kept.stood else None

    def keep(self, place: Place, kept: Kept) -> None:
        # Read in the middle of a commit: nothing would tell when it is not true any more.
        if kept.stood & 1:
            return
        self._young_bytes += kept.size
        if len(self.young) >= HALF_ENTRIES or self._young_bytes > HALF_BYTES:
            self.old, self.young, self._young_bytes = self.young, {}, kept.size
        self.young[place] = kept


# Where there are no tables nothing is kept: its counters are odd, as in a commit that never ends.
NOTHING = Decoded(memoryview(array("Q", [1]) * BUCKETS))
