"""The port of the entry cache: a cached entry is returned only while its version is the counter's value."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from adsum._store.entry_cache import LEAST_ENTRIES, CachedEntry, EntryCache, TwoGenerationCache, VersionSource
from adsum.model import EPOCH, Entry, Metadata, Owner, ProcessId


class Counters:
    """Eight change counters, and a registry of `entries` entries."""

    def __init__(self, entries: int = 0) -> None:
        self.counters = memoryview(array("Q", [0] * 8))
        self.lifelines = memoryview(array("Q", [0] * 8))
        self.entries = entries


IMPLEMENTATIONS: list[Callable[[VersionSource], EntryCache]] = [TwoGenerationCache]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["two generations"])
def make(request: pytest.FixtureRequest) -> Callable[[VersionSource], EntryCache]:
    """Each implementation of `EntryCache`."""
    implementation: Callable[[VersionSource], EntryCache] = request.param
    return implementation


def cached(name: str, *, bucket: int = 0, version: int = 0, revision: int = 1, size: int = 100) -> CachedEntry:
    id = ProcessId("default", "n", name)
    entry = Entry(id, 1, 2, 3, revision, EPOCH, EPOCH, revision, Metadata())
    return CachedEntry(entry, Owner(1, 2, 3), name.encode(), bucket, version, size)


def test_an_entry_is_returned_while_its_counter_has_its_version(make: Callable[[VersionSource], EntryCache]) -> None:
    """A change of another counter does not matter; a change of its own invalidates it."""
    page = Counters()
    cache = make(page)
    kept = cached("a", bucket=3)
    cache.keep(("default", "n", "a"), kept)
    page.counters[4] = 2
    assert cache.get(("default", "n", "a")) is kept
    page.counters[3] = 1
    assert cache.get(("default", "n", "a")) is None
    page.counters[3] = 2
    assert cache.get(("default", "n", "a")) is None


def test_an_entry_that_was_read_during_a_commit_is_not_kept(make: Callable[[VersionSource], EntryCache]) -> None:
    """An odd version cannot be validated later."""
    page = Counters()
    page.counters[0] = 1
    cache = make(page)
    cache.keep(b"row", cached("a", version=1))
    assert cache.get(b"row") is None


def test_a_forgotten_entry_is_gone(make: Callable[[VersionSource], EntryCache]) -> None:
    """Forgetting an entry that is not cached does nothing."""
    cache = make(Counters())
    cache.keep(b"row", cached("a"))
    cache.forget(b"row")
    cache.forget(b"row")
    assert cache.get(b"row") is None


def test_many_are_asked_for_at_once(make: Callable[[VersionSource], EntryCache]) -> None:
    """Entries that are stale, absent or newer than the snapshot are not among the current ones."""
    page = Counters()
    cache = make(page)
    fresh, stale, newer = cached("a", bucket=1), cached("b", bucket=2), cached("c", bucket=3, revision=9)
    for row, entry in ((b"a", fresh), (b"b", stale), (b"c", newer)):
        cache.keep(row, entry)
    page.counters[2] = 2
    assert cache.current_among([b"a", b"b", b"c", b"d"], newest=8) == ([fresh], [b"b", b"c", b"d"])
    assert cache.current_among([b"c"], newest=9) == ([newer], [])


def test_versions_are_those_of_the_counters(make: Callable[[VersionSource], EntryCache]) -> None:
    """A copy of all versions stays as it was."""
    page = Counters()
    cache = make(page)
    page.counters[5] = 6
    copy = cache.versions()
    page.counters[5] = 8
    assert (cache.version_of(5), copy[5]) == (8, 6)


def test_many_are_kept_at_once(make: Callable[[VersionSource], EntryCache]) -> None:
    """Of many entries those are kept that were not read during a commit."""
    page = Counters()
    cache = make(page)
    page.counters[2] = 1
    whole, torn = cached("a", bucket=1), cached("b", bucket=2, version=1)
    cache.keep_all({b"a": whole})
    assert cache.get(b"a") == whole
    cache.keep_all({b"b": torn, b"c": whole})
    assert (cache.get(b"b"), cache.get(b"c")) == (None, whole)


@pytest.mark.parametrize("at_once", [1, 700, 20_000])
@pytest.mark.parametrize("entries", [0, 5000])
def test_it_is_bounded_by_the_size_of_the_registry(
    make: Callable[[VersionSource], EntryCache], entries: int, at_once: int
) -> None:
    """S4: however many entries come and go, it holds at most two generations of twice the registry's entries."""
    cache = make(Counters(entries))
    most = 2 * max(LEAST_ENTRIES, 2 * entries)
    names = [f"{number}" for number in range(3 * most)]
    for first in range(0, len(names), at_once):
        cache.keep_all({name.encode(): cached(name) for name in names[first : first + at_once]})
    found, _ = cache.current_among([name.encode() for name in names], newest=1)
    assert len(found) <= most
    assert cache.get(names[-1].encode()) is not None


def test_an_entry_in_use_survives_those_that_are_not(make: Callable[[VersionSource], EntryCache]) -> None:
    """An entry that is asked for between others stays cached."""
    cache = make(Counters())
    cache.keep(b"used", cached("used"))
    for number in range(5 * LEAST_ENTRIES):
        cache.keep(str(number).encode(), cached(str(number)))
        if number % 100 == 0:
            assert cache.get(b"used") is not None
