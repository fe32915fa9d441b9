"""Results of searches that are repeated: what is known of their owners when a result is made."""

from __future__ import annotations

import types
from array import array
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from adsum._store.entry_cache import CachedEntry
from adsum._store.kept_results import KeptResults
from adsum._store.lifelines import NONE, STAMP
from adsum._store.page_layout import LIFELINE_WORDS
from adsum._store.query import Query
from adsum.model import Entry, Metadata, Owner, ProcessId

QUERY = Query(namespace="default")
MUTEX, STAMPED = 7, 70
NOW = datetime.now(UTC)


class Kept:
    """Results of a board whose memory the test writes: the lifeline of member n is intact until `break_lifeline`."""

    def __init__(self) -> None:
        self.words = memoryview(array("Q", [0] * 8 * LIFELINE_WORDS))
        for at in range(0, len(self.words), LIFELINE_WORDS):
            self.words[at], self.words[at + STAMP] = MUTEX, STAMPED
        board = types.SimpleNamespace(counters=memoryview(array("Q", [0] * 65536)), lifelines=self.words, rows=None)
        self.results = KeptResults(cast("Any", board))

    def break_lifeline(self, number: int) -> None:
        self.words[number * LIFELINE_WORDS] = 1 << 30

    def keep(self, *members: CachedEntry, asked: frozenset[Owner] = frozenset()) -> None:
        self.results.keep(QUERY, *self.results.version_for(QUERY), list(members), asked)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def member(number: int, *, has_lifeline: bool = True) -> CachedEntry:
    owner, id = Owner(number + 1, 2, 3), ProcessId("default", "host", f"m{number}")
    entry = Entry(id, *owner, 1, NOW, NOW, 1, Metadata(created_at=NOW, last_health_check=NOW))
    at = number * LIFELINE_WORDS
    lifeline = (at, MUTEX, at + STAMP, STAMPED) if has_lifeline else NONE
    return CachedEntry(entry, owner, b"", 0, 0, 100, None, *lifeline)


def test_lifelines_that_are_intact_are_enough(kept: Kept) -> None:
    """Of an owner that has none the kernel is asked each time."""
    kept.keep(member(0), member(1), member(2, has_lifeline=False))
    result = kept.results.get(QUERY)
    assert result is not None
    assert result.has_all_lifelines()
    assert result.others == {member(2).owner}
    assert kept.results.get(QUERY) is result


def test_a_lifeline_that_broke_after_the_search(kept: Kept) -> None:
    """Its process may be ending, which the pidfd says late: the result is not trusted, and its members are known."""
    kept.keep(member(0), member(1))
    kept.break_lifeline(1)
    result = kept.results.get(QUERY)
    assert result is not None
    assert not result.has_all_lifelines()
    assert not result.others
    assert kept.results.get(QUERY) is result


def test_a_lifeline_that_was_broken_before_the_search(kept: Kept) -> None:
    """The search has asked the kernel, which says that the process lives: it has called exec, for one."""
    kept.break_lifeline(1)
    kept.keep(member(0), member(1), asked=frozenset({member(1).owner}))
    result = kept.results.get(QUERY)
    assert result is not None
    assert result.has_all_lifelines()
    assert result.others == {member(1).owner}
    kept.break_lifeline(0)
    assert not result.has_all_lifelines()


def test_the_number_of_entries_is_counted_anew_before_any_is_dropped(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that keep the same search at once may count it twice; results are not dropped for that."""
    monkeypatch.setattr("adsum._store.kept_results.MOST_ENTRIES", 10)
    kept.results._entries = 1000
    kept.keep(member(0))
    other = QUERY._replace(namespace="other")
    kept.results.keep(other, *kept.results.version_for(other), [member(1)], frozenset())
    assert kept.results.get(QUERY) is not None
    assert kept.results.get(other) is not None
