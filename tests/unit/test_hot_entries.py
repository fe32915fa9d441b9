"""The hot entries of a cache: a lookup by string finds them, and none that the cache has given up."""

from __future__ import annotations

from array import array

import pytest

from adsum._store.entry_cache import LEAST_ENTRIES, CachedEntry, HotEntries, TwoGenerationCache
from adsum.model import EPOCH, Entry, Metadata, Owner, ProcessId


class _Page:
    def __init__(self) -> None:
        self.counters = memoryview(array("Q", [0] * 8))
        self.lifelines = memoryview(array("Q", [7] * 16))
        self.entries = 0


@pytest.fixture
def cache() -> TwoGenerationCache:
    return TwoGenerationCache(_Page())


def keep(cache: TwoGenerationCache, name: str, *, mutex: int = 7) -> None:
    """Keep an entry that was read, and then read again."""
    id = ProcessId("default", "n", name)
    entry = Entry(id, 1, 2, 3, 1, EPOCH, EPOCH, 1, Metadata())
    cached = CachedEntry(entry, Owner(1, 2, 3), name.encode(), 0, 0, 100, None, 0, mutex, 5, 7)
    cache.keep(id, cached)
    cache.keep_hot(id, cached)


def hot(cache: TwoGenerationCache) -> HotEntries:
    return cache.hot.setdefault(("default", "n"), {})


def test_an_entry_is_hot_when_it_was_read_twice(cache: TwoGenerationCache) -> None:
    """It is found under its local id, and not any more when it is forgotten."""
    keep(cache, "a")
    assert list(hot(cache)) == ["a"]
    cache.forget(("default", "n", "a"))
    assert not hot(cache)


def test_an_entry_without_a_lifeline_is_not_hot(cache: TwoGenerationCache) -> None:
    """The kernel must be asked for its owner, which a comparison of memory cannot do."""
    keep(cache, "a", mutex=-1)
    assert not hot(cache)


def test_an_entry_that_the_cache_gave_up_is_not_made_hot(cache: TwoGenerationCache) -> None:
    """A thread that still has it comes too late."""
    id = ProcessId("default", "n", "a")
    entry = Entry(id, 1, 2, 3, 1, EPOCH, EPOCH, 1, Metadata())
    cache.keep_hot(id, CachedEntry(entry, Owner(1, 2, 3), b"a", 0, 0, 100, None, 0, 7, 5, 7))
    assert not hot(cache)


def test_a_rotation_empties_what_readers_hold(cache: TwoGenerationCache) -> None:
    """A registry that holds the inner dictionary finds nothing in it, and gets another one."""
    keep(cache, "a")
    held, all_hot = hot(cache), cache.hot
    for number in range(LEAST_ENTRIES + 1):
        keep(cache, f"b{number}")
    assert "a" not in held
    assert cache.hot is not all_hot


def test_a_dropped_cache_keeps_nothing_hot(cache: TwoGenerationCache) -> None:
    """Also what a thread puts into it afterwards, which had begun before."""
    keep(cache, "a")
    held = hot(cache)
    cache.drop()
    assert not held
    keep(cache, "b")
    assert not hot(cache)


def test_absent_names_are_bounded(cache: TwoGenerationCache) -> None:
    """A process that looks for ever new names keeps so many of them as it keeps entries."""
    for number in range(3 * LEAST_ENTRIES):
        cache.keep_absent(("default", "n", f"a{number}"), 0, 0)
        assert len(hot(cache)) <= LEAST_ENTRIES + 1


def test_an_absence_that_was_read_during_a_commit_is_not_kept(cache: TwoGenerationCache) -> None:
    """An odd version cannot be validated later."""
    cache.keep_absent(("default", "n", "a"), 0, 1)
    assert not hot(cache)
