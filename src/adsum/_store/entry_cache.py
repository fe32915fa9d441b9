"""The entries that a process keeps decoded, and the proof that each of them is current.

Decoding a row costs more than finding it. So a reader keeps a decoded entry together with a *version*: the value that
the change counter of its id had before the snapshot in which the reader decoded it. As long as the counter has that
value no commit has touched the id, and the entry is current. The counter is a seqlock (see `page`); the check is one
comparison.

The cache has two generations. When the young one is full it becomes the old one, and an entry that is used again
returns to the young one: about least recently used, at the cost of a dictionary. The size of a generation follows the
number of entries in the registry, because a cached entry that was removed is of no use.

A cache belongs to one mapped page. When other tables become current, the reader drops the cache as a whole: a read that
was running at that moment may still put an entry into it, and no later read sees that entry.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from ..model import Entry, Owner
from .lifelines import NONE
from .page_layout import BUCKETS
from .promises import Promise

# An id, for lookups, or the row key of an incarnation, for queries.
CacheKey: TypeAlias = "tuple[str, str, str] | bytes"

# A generation holds so many entries (about 1 KB each) or so many bytes of rows, whichever is less. An entry may be in
# it twice, under its id and under its incarnation. A small registry is not worth the effort of evicting.
GENERATION_ENTRIES = 65_536
LEAST_ENTRIES = 1024
GENERATION_BYTES = 16 * 1024 * 1024


class CachedEntry(msgspec.Struct, frozen=True):
    """A decoded entry, and the counter and version that validate it. `size` is that of its row, in bytes. `promise` has
    its heartbeats; None where it promises none. The last four are the lifeline of its owner."""

    entry: Entry
    owner: Owner
    key: bytes
    bucket: int
    version: int
    size: int
    promise: Promise | None = None
    mutex_at: int = NONE.mutex_at
    mutex: int = NONE.mutex
    stamp_at: int = NONE.stamp_at
    stamp: int = NONE.stamp

    def present(self) -> Entry:
        """The entry, with its last heartbeat."""
        return self.entry if self.promise is None else self.promise.look()


# What `RegistryReads.lookup` needs of a cached entry, in the order in which it takes it apart: the counters and the
# lifelines of its page with the numbers that validate it, and the entry.
HotEntry: TypeAlias = "tuple[memoryview, int, int, memoryview, int, int, int, int, Entry | None]"
# By local id.
HotEntries: TypeAlias = "dict[str, HotEntry]"


class VersionSource(Protocol):
    """The counters that validate cached entries, the lifelines of their owners, and the number of entries in the
    registry. A `Page` is one."""

    @property
    def counters(self) -> memoryview: ...
    @property
    def lifelines(self) -> memoryview: ...
    @property
    def entries(self) -> int: ...


class EntryCache(Protocol):
    """The port: `tests/conformance/test_entry_cache.py` is its suite."""

    def get(self, key: CacheKey) -> CachedEntry | None:
        """The entry under a key, if it is current."""
        ...

    def current_among(self, rows: Iterable[bytes], newest: int) -> tuple[list[CachedEntry], list[bytes]]:
        """Of many incarnations: the entries that are current and no newer than revision `newest`, and the row keys of
        the others. Another thread may have cached an entry from a later snapshot than the caller's."""
        ...

    def keep(self, key: CacheKey, cached: CachedEntry) -> None:
        """Cache an entry, unless its version is odd: then it was read during a commit, and cannot be validated."""
        ...

    def keep_all(self, fresh: Mapping[CacheKey, CachedEntry]) -> None:
        """`keep` many."""
        ...

    def forget(self, key: CacheKey) -> None:
        """Drop the entry under a key: the id is not registered any more."""
        ...

    def version_of(self, bucket: int) -> int:
        """The present value of a counter. To be read before the snapshot is opened."""
        ...

    def versions(self) -> memoryview:
        """A copy of all counters. To be made before the snapshot is opened."""
        ...


class TwoGenerationCache:
    """The entry cache of one page. `Reader.lookup` reads `young`, `counters` and `lifelines` itself: a call would cost
    it 5 %.

    `hot` has young entries once more, by namespace and node and then by local id: a string is found in it without an
    id being made. These are entries that were used twice, as far as their owners have lifelines, and None for ids that
    were looked for and are not registered. Each hot entry carries what validates it. When the cache rotates or is
    dropped, the inner dictionaries are emptied and `hot` is another dictionary.
    """

    def __init__(self, page: VersionSource) -> None:
        self.counters = page.counters
        self.lifelines = page.lifelines
        self.young: dict[CacheKey, CachedEntry] = {}
        self.hot: dict[tuple[str, str], HotEntries] = {}
        self._absent = 0
        self._dropped = False
        self._old: dict[CacheKey, CachedEntry] = {}
        self._page = page
        self._young_bytes = 0
        # How many young entries are enough to look how many may be kept.
        self._enough = LEAST_ENTRIES

    def get(self, key: CacheKey) -> CachedEntry | None:
        cached = self.young.get(key)
        if cached is None:
            cached = self._old.pop(key, None)
            if cached is None:
                return None
            self.keep(key, cached)
        return cached if self.counters[cached.bucket] == cached.version else None

    def current_among(self, rows: Iterable[bytes], newest: int) -> tuple[list[CachedEntry], list[bytes]]:
        young, old, counters = self.young, self._old, self.counters
        found: list[CachedEntry] = []
        others: list[bytes] = []
        for row in rows:
            cached = young.get(row) or old.get(row)
            if cached is None or counters[cached.bucket] != cached.version or cached.entry.revision > newest:
                others.append(row)
            else:
                found.append(cached)
        return found, others

    def keep(self, key: CacheKey, cached: CachedEntry) -> None:
        if cached.version & 1:
            return
        self._young_bytes += cached.size
        if len(self.young) >= self._enough or self._young_bytes > GENERATION_BYTES:
            self._make_room(cached.size)
        self.young[key] = cached

    def keep_all(self, fresh: Mapping[CacheKey, CachedEntry]) -> None:
        # Nearly always all of them fit: one step for the thousands that a search has decoded.
        size = sum([cached.size for cached in fresh.values()])
        of_a_commit = [cached for cached in fresh.values() if cached.version & 1]
        fits = len(self.young) + len(fresh) < self._most() and self._young_bytes + size < GENERATION_BYTES
        if fits and not of_a_commit:
            self._young_bytes += size
            self.young.update(fresh)
            return
        for key, cached in fresh.items():
            self.keep(key, cached)

    def keep_absent(self, key: tuple[str, str, str], bucket: int, version: int) -> None:
        """Keep that nothing is registered under an id, unless that was read during a commit."""
        self.forget(key)
        if version & 1:
            return
        self._absent += 1
        if self._absent > self._most():
            self._forget_hot()
        # No process has to be alive: the counter takes the places of the lifeline.
        words, at = self.counters, bucket
        self._put_hot(key, (words, at, version, words, at, version, at, version, None))

    def keep_hot(self, key: tuple[str, str, str], cached: CachedEntry) -> None:
        """Let the next lookup by string find this entry at once, if its owner has a lifeline, and it promises no
        heartbeat that would have to be looked for."""
        if cached.mutex == NONE.mutex or cached.promise is not None or self.young.get(key) is not cached:
            return
        valid = self.counters, cached.bucket, cached.version
        alive = self.lifelines, cached.mutex_at, cached.mutex, cached.stamp_at, cached.stamp
        self._put_hot(key, (*valid, *alive, cached.entry))

    def _put_hot(self, key: tuple[str, str, str], entry: HotEntry) -> None:
        namespace, node, local_id = key
        hot = self.hot.setdefault((namespace, node), {})
        hot[local_id] = entry
        if self._dropped:
            # By another thread, which has emptied this dictionary perhaps before.
            hot.clear()

    def forget(self, key: CacheKey) -> None:
        self.young.pop(key, None)
        self._old.pop(key, None)
        if isinstance(key, tuple) and (hot := self.hot.get(key[:2])) is not None:
            hot.pop(key[2], None)
        self._make_room(0)

    def version_of(self, bucket: int) -> int:
        return self.counters[bucket]

    def versions(self) -> memoryview:
        return memoryview(self.counters.tobytes()).cast("Q")

    def _most(self) -> int:
        return max(LEAST_ENTRIES, min(GENERATION_ENTRIES, 2 * self._page.entries))

    def _make_room(self, size: int) -> None:
        """Rotate, if the young generation is full; `size` is that of the entry to come."""
        self._enough = most = self._most()
        if len(self.young) >= most or self._young_bytes > GENERATION_BYTES:
            # Far more cached entries than the registry has: most of them were removed, so none is carried over.
            self._old = self.young if len(self.young) <= 2 * most else {}
            self.young, self._young_bytes = {}, size
            self._forget_hot()

    def drop(self) -> None:
        """The page is not current any more: no later lookup finds a hot entry of it."""
        self._dropped = True
        self._forget_hot()

    def _forget_hot(self) -> None:
        hot, self.hot, self._absent = self.hot, {}, 0
        for entries in list(hot.values()):
            entries.clear()


class _NoPage(NamedTuple):
    counters: memoryview
    lifelines: memoryview
    entries: int = 0


# The cache where there are no tables keeps nothing: its counters are odd, as in a commit that never ends.
NO_CACHE = TwoGenerationCache(_NoPage(memoryview(array("Q", [1]) * BUCKETS), memoryview(array("Q", [0]))))
