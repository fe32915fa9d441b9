"""The results of searches that a process keeps, and the proof that each is still right.

A result holds as long as no commit has touched an entry that has one of the query's index keys: an entry that enters,
leaves or changes in the result has all of them, before the change or after it. So one of them decides, by its counter
on the board (see `board`). The counter is read before the snapshot of which the result is.

That each owner lives is one comparison of bytes: the lifelines are what they were when each of them was checked (see
`lifelines`). For owners without a lifeline the kernel is asked.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Set
from operator import attrgetter
from typing import Any, NamedTuple

from ..model import Entry, Owner
from .board import NO_BOARD, Board, index_bucket_of
from .entry_cache import CachedEntry
from .layout import namespace_key
from .lifelines import NONE, STAMP
from .member_rows import MemberRows
from .own_index import IndexedName
from .page_layout import LIFELINE_WORDS
from .query import Query

# So many results, of so many entries in all, are kept; the one that was used first goes first.
MOST_RESULTS = 256
MOST_ENTRIES = 65_536
# Lifelines that are no further apart than so many are compared in one piece.
_GAP = 16 * LIFELINE_WORDS


# Loops in C: a result may have thousands of members.
_entry_of = attrgetter("entry")
_promise_of = attrgetter("promise")
_lifeline_of = attrgetter("mutex_at", "mutex", "stamp")


class Piece(NamedTuple):
    """Lifelines that lie side by side, as they were when their processes were known to live."""

    start: int
    end: int
    content: bytes


class KeptResult(NamedTuple):
    """The entries that match a query, sorted by id, and what validates them: the counter, and the lifelines of their
    owners, which are among `words`; `others` have none, and `hosts` represent other hosts of the cluster. `promising`
    are the indices of those that promise heartbeats. `rows` have the gauges, and `columns` what `adsum._columns`
    derives of the entries."""

    bucket: int
    version: int
    words: memoryview
    pieces: list[Piece]
    others: frozenset[Owner]
    hosts: frozenset[Owner]
    members: list[CachedEntry]
    entries: list[Entry]
    promising: list[int]
    rows: MemberRows
    columns: dict[str, Any]

    def is_current(self, counters: memoryview) -> bool:
        """Whether the tables still give these entries."""
        return bool(counters[self.bucket] == self.version)

    def present(self) -> list[Entry]:
        """The entries in a list of its own, with their last heartbeats."""
        entries = self.entries.copy()
        for index in self.promising:
            entries[index] = self.members[index].present()
        return entries

    def has_all_lifelines(self) -> bool:
        """Whether every owner that has a lifeline is alive. False also where a process lives whose lifeline broke."""
        words = self.words
        return all(words[start:end].tobytes() == content for start, end, content in self.pieces)


class _FoundEntries:
    """What a search has found, with the counter that validates it and the `asked` owners, of whom the kernel said that
    they live; and the result that is made of it when the same is searched for again."""

    __slots__ = ("asked", "bucket", "members", "result", "version")

    def __init__(self, bucket: int, version: int, members: list[CachedEntry], asked: Set[Owner]) -> None:
        self.bucket = bucket
        self.version = version
        self.members = members
        self.asked = asked
        self.result: KeptResult | None = None


class KeptResults:
    """The kept results of one registry, which indexes these names of own data."""

    def __init__(self, board: Board, indexed: Collection[IndexedName] = ()) -> None:
        self._indexed = indexed
        self._counters = board.counters
        self._words = board.lifelines
        self._rows = board.rows
        self._results: dict[Query, _FoundEntries] = {}
        self._entries = 0

    def get(self, query: Query) -> KeptResult | None:
        """The result of a query, if the tables still give it. Its owners may have died."""
        found = self._results.get(query)
        if found is None or self._counters[found.bucket] != found.version:
            return None
        if found.result is None:
            found.result = self._result_of(found)
        return found.result

    def is_current(self, kept: KeptResult) -> bool:
        """Whether the tables still give the entries of this result."""
        return kept.is_current(self._counters)

    def version_for(self, query: Query) -> tuple[int, int]:
        """The counter that validates a result, and its value. To be read before the snapshot is opened."""
        if query.namespace is None:
            # No counter has the changes of all namespaces: an odd one, so that the result is not kept.
            return 0, 1
        bucket = index_bucket_of(*next(iter(query.index_keys(self._indexed)), namespace_key(query.namespace)))
        return bucket, self._counters[bucket]

    def keep(self, query: Query, bucket: int, version: int, members: list[CachedEntry], asked: Set[Owner]) -> None:
        """Keep a result, unless it was read during a commit, or is too large. Its members live: the kernel has said so
        of the `asked` owners, lifelines of the others."""
        old = self._results.pop(query, None)
        self._entries -= 0 if old is None else len(old.members)
        if version & 1 or len(members) > MOST_ENTRIES:
            return
        self._make_room(len(members))
        self._results[query] = _FoundEntries(bucket, version, members, asked)
        self._entries += len(members)

    def _result_of(self, found: _FoundEntries) -> KeptResult:
        bucket, version, members = found.bucket, found.version, found.members
        entries = list(map(_entry_of, members))
        pieces, others = self._validated(found)
        hosts = frozenset(owner for owner in others if not owner.pid)
        promising = [index for index, promise in enumerate(map(_promise_of, members)) if promise is not None]
        return KeptResult(
            bucket, version, self._words, pieces, others - hosts, hosts, members, entries, promising, self._rows, {}
        )

    def _validated(self, found: _FoundEntries) -> tuple[list[Piece], frozenset[Owner]]:
        """The lifelines as the search found them, and the owners for which the kernel has to be asked instead."""
        shown = set(map(_lifeline_of, found.members))
        spans = [
            (start, array("Q", self._words[start:end].tobytes()))
            for start, end in _spans(at for at, mutex, _ in shown if mutex != NONE.mutex)
        ]
        alive: set[tuple[int, int, int]] = set()
        for start, words in spans:
            alive.update((start + at, words[at], words[at + STAMP]) for at in range(0, len(words), LIFELINE_WORDS))
        unknown = shown - alive
        others: set[Owner] = set()
        for one in found.members if unknown else ():
            if _lifeline_of(one) not in unknown:
                continue
            if one.mutex == NONE.mutex or one.owner in found.asked:
                others.add(one.owner)
                continue
            # It broke since the search. Only a new search asks whether the process is ending.
            for start, words in spans:
                if start <= one.mutex_at < start + len(words):
                    words[one.mutex_at - start], words[one.mutex_at - start + STAMP] = one.mutex, one.stamp
        return [Piece(start, start + len(words), words.tobytes()) for start, words in spans], frozenset(others)

    def _make_room(self, entries: int) -> None:
        if self._entries + entries > MOST_ENTRIES:
            # Threads that search at once may have counted one result twice.
            self._entries = sum([len(found.members) for found in list(self._results.values())])
        while self._results and (len(self._results) >= MOST_RESULTS or self._entries + entries > MOST_ENTRIES):
            try:
                first = self._results.pop(next(iter(self._results)))
            except (KeyError, RuntimeError, StopIteration):
                # Another thread keeps a result at the same moment.
                continue
            self._entries -= len(first.members)


def _spans(starts: Iterable[int]) -> list[tuple[int, int]]:
    """The lifelines at these words, as few spans of words without large gaps."""
    spans: list[tuple[int, int]] = []
    for at in sorted(set(starts)):
        if spans and at - spans[-1][1] <= _GAP:
            spans[-1] = spans[-1][0], at + LIFELINE_WORDS
        else:
            spans.append((at, at + LIFELINE_WORDS))
    return spans


# Where there are no tables: its counters are odd, as in a commit that never ends.
NO_RESULTS = KeptResults(NO_BOARD)
