"""What a process keeps of what it decoded, and what makes it trustworthy.

Decoding and checking a row costs more than finding it, so an entry that was read is kept, with its id's counter on the
page and where that stood before the read. For as long as the counter stands there nobody has committed anything about
that id (see `page`), and what was kept is still the truth; to know it costs one comparison.

It is kept in two halves. When the young half is full it becomes the old one, and what is used again comes back: least
recently used, near enough, at the price of a dict. How much a half takes goes by how many entries there are, for what
was kept of those that are gone is of no use to anybody.

Kept entries are worth as much as the counters that vouch for them. So each `EntryCache` belongs to one mapped page, and
when other tables become current it is left behind whole: a read that was under way meanwhile may still put into it what
it found, and nobody will see that.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple, Protocol, TypeAlias

from ..model import Entry, Owner
from .page import BUCKETS

# An id, for lookups, or an incarnation, for queries.
CacheKey: TypeAlias = "tuple[str, str, str] | bytes"

# Each half takes so many entries (about 1 KB each) or so many bytes of rows, whichever is less. An entry may be in it
# twice, under its id and under its incarnation; a small registry is worth no effort.
HALF_ENTRIES = 65_536
LEAST_ENTRIES = 1024
HALF_BYTES = 16 * 1024 * 1024


class CachedEntry(NamedTuple):
    """A decoded entry and what makes it trustworthy: its id's counter on the page, and where that stood."""

    entry: Entry
    owner: Owner
    key: bytes
    bucket: int
    version: int
    size: int


class VersionSource(Protocol):
    """What vouches for what is kept, and how many entries there are. A `Page` is one."""

    @property
    def counters(self) -> memoryview: ...
    @property
    def entries(self) -> int: ...


class EntryCache:
    """What was decoded under one page.

    Reads that must be quick look into `young`, `old` and `counters` themselves.
    """

    def __init__(self, page: VersionSource) -> None:
        self.counters = page.counters
        self.young: dict[CacheKey, CachedEntry] = {}
        self.old: dict[CacheKey, CachedEntry] = {}
        self._page = page
        self._young_bytes = 0

    def get(self, key: CacheKey) -> CachedEntry | None:
        """What is kept in a place, as long as its counter stands where it stood."""
        cached = self.young.get(key)
        if cached is None:
            cached = self.old.pop(key, None)
            if cached is None:
                return None
            self.keep(key, cached)
        return cached if self.counters[cached.bucket] == cached.version else None

    def keep(self, key: CacheKey, cached: CachedEntry) -> None:
        # Read in the middle of a commit: nothing would tell when it is not true any more.
        if cached.version & 1:
            return
        self._make_room(cached.size)
        self.young[key] = cached

    def forget(self, key: CacheKey) -> None:
        """Nothing stands there any more."""
        self.young.pop(key, None)
        self.old.pop(key, None)
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        self._young_bytes += size
        most = max(LEAST_ENTRIES, min(HALF_ENTRIES, 2 * self._page.entries))
        if len(self.young) >= most or self._young_bytes > HALF_BYTES:
            # Far more than there are: most of them are gone.
            self.old = self.young if len(self.young) <= 2 * most else {}
            self.young, self._young_bytes = {}, size


class _NoPage(NamedTuple):
    counters: memoryview
    entries: int = 0


# Where there are no tables nothing is kept: its counters are odd, as in a commit that never ends.
NO_CACHE = EntryCache(_NoPage(memoryview(array("Q", [1]) * BUCKETS)))
