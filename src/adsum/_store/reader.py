"""The reads of a process: from shared memory and the kernel, without a request to any process.

One `Reader` serves every `Registry` that a process has open on one folder. It answers from the entry cache where the
change counters show that a cached entry is current (`entry_cache`), and else from one snapshot of the current tables
(`current_tables`, `snapshot`). The liveness check comes last, so a read returns no entry whose owner is dead at that
moment (S2).

The reads for the change feed (`position`, `steps_since`, `state_at`) check no owner: a death is a change there.
"""

from __future__ import annotations

import functools
import operator
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import msgspec

from .._os.forking import add_fork_aware
from .._os.liveness import LivenessCheck
from .._os.ports import ReaderLiveness
from .._validation import id_key
from ..model import Entry, Limits, Owner, Reach
from . import history, lifelines, page, snapshot
from .current_tables import CurrentTables
from .entry_cache import CachedEntry, CacheKey, HotEntries, TwoGenerationCache
from .environment import Environment, OpenTables, open_to_read
from .feed import NOWHERE, Base, Position
from .history import Step
from .hosts import HostWords, boottime_ns
from .kept_results import KeptResult
from .lateness import judged
from .layout import decode_public
from .lifelines import BROKEN, NONE, Lifeline
from .local_members import LocalMembers
from .page_layout import BUCKETS
from .promises import Promise
from .query import Query
from .reports import Reports

# So many entries are read in order to count them: then the result is kept, and the next count is answered from it.
MOST_COUNTED = 2048


class Reader:
    """Reads the registry in one folder. Safe for threads. It opens the tables on demand, again after `fork`, and
    again when the registry was recreated. Where there is no registry it answers as an empty one does."""

    def __init__(
        self,
        folder: Path,
        make_liveness: Callable[[], ReaderLiveness] = LivenessCheck,
        make_cache: Callable[[page.Page], TwoGenerationCache] = TwoGenerationCache,
        open_tables: OpenTables = open_to_read,
        boottime: Callable[[], int] = boottime_ns,
    ) -> None:
        self.folder = folder
        self._tables = CurrentTables(folder, make_cache, open_tables, boottime)
        self._make_liveness = make_liveness
        self._liveness = make_liveness()
        self.local_members = LocalMembers()
        add_fork_aware(self)

    def attach(self) -> None:
        """Open the tables if there are any, so that an error in them is raised now."""
        self._tables.current()

    @property
    def node(self) -> str | None:
        """The registry's own node, as the last read found it; None where there was no registry yet."""
        return self._tables.node

    @property
    def limits(self) -> Limits | None:
        """The registry's own limits, as the last read found them; None where there was no registry yet."""
        return self._tables.limits

    def registry_exists(self) -> bool:
        """Whether there is a registry in the folder now."""
        return self._tables.current() is not None

    @property
    def open_page(self) -> page.Page | None:
        """The page that the last read used; None where there was no registry yet."""
        return self._tables.page

    def position(self) -> Position:
        """The present position, as the page has it: as cheap as memory, and never behind an acknowledged change. Zeros
        where there is no registry."""
        mapped = self._current_page()
        return NOWHERE if mapped is None else Position(mapped.epoch, mapped.revision)

    def revision(self) -> int:
        """That of `position`, for callers that ask at each write."""
        mapped = self._current_page()
        return 0 if mapped is None else mapped.revision

    def _current_page(self) -> page.Page | None:
        self._tables.current()
        return self._tables.page

    def recheck_folder(self) -> None:
        """The client has connected to a registrar: check before the next read that the open tables are still those in
        the folder."""
        self._tables.recheck_folder()

    def lookup(self, process_id: tuple[str, str, str], *, keep_hot: bool = False) -> Entry | None:
        """The living entry under an id, or None. With `keep_hot`, an entry that is read again is kept where the next
        lookup by string finds it. Errors: `InvalidProcessId`."""
        # After a fork that Python did not see this only reads: memory, and the parent's epoll. What changes one of
        # them, in `_fetch` and in `is_alive`, notices the fork.
        cache = self._tables.cache
        cached = cache.young.get(process_id)
        if cached is None or cache.counters[cached.bucket] != cached.version:
            cached, cache = self._fetch(process_id)
            if cached is None:
                return None
        elif keep_hot:
            cache.keep_hot(process_id, cached)
        words = cache.lifelines
        # The mutex first; see `lifelines`.
        if words[cached.mutex_at] != cached.mutex or words[cached.stamp_at] != cached.stamp:
            if not cached.owner.pid:
                return self._lookup_remote(process_id)
            if not self._lives(cached):
                return None
        promise = cached.promise
        if promise is None:
            return cached.entry
        entry = promise.look()
        # Before the member is late there is nothing to judge, so only then does it matter whether a registrar is alive.
        return entry if time.time() < promise.late_at else self._judged(entry)

    def _lookup_remote(self, process_id: tuple[str, str, str]) -> Entry | None:
        """`lookup` of an id that a member of another host has. What is read is of a moment at which the host was here:
        its word is read before the counter that validates the entry."""
        while True:
            cached, cache = self._fetch(process_id)
            if cached is None:
                return None
            if cached.owner.pid:
                return self.lookup(process_id)
            if not self._tables.hosts.is_here(cached.owner):
                return None
            if cache.counters[cached.bucket] == cached.version or cached.version & 1:
                return cached.entry

    def lookup_anywhere(self, process_id: tuple[str, str, str]) -> Entry | None:
        """`lookup`, which also gives a member of a host that cannot be reached now, and marks it so."""
        cached = self.cached(process_id)
        if cached is None or cached.owner.pid:
            return self.lookup(process_id)
        return self._marked(cached.entry)

    def _marked(self, entry: Entry) -> Entry:
        """The entry, marked where it is of a host that cannot be reached now."""
        origin = entry.origin
        if origin is None or self._tables.hosts.is_here(entry.owner):
            return entry
        return _unreachable(entry)

    def cached(self, process_id: tuple[str, str, str]) -> CachedEntry | None:
        """The entry under an id as it is in the tables, whether or not its owner is alive."""
        cache = self._tables.cache
        cached = cache.young.get(process_id)
        if cached is None or cache.counters[cached.bucket] != cached.version:
            cached, _ = self._fetch(process_id)
        return cached

    @property
    def hot(self) -> dict[tuple[str, str], HotEntries]:
        """The hot entries of the present cache; see `TwoGenerationCache`."""
        return self._tables.cache.hot

    def add_local_member(self, entry: Entry, is_over: Callable[[], bool]) -> None:
        """The entry is that of a thread or task of this process: from now on, reads return it only until `is_over`."""
        self.local_members.add(entry.incarnation, is_over)
        # Another thread may have read and cached it already.
        self._tables.cache.forget(entry.process_id)

    def find(self, query: Query) -> list[Entry]:
        """The living entries that match, sorted by id, all of one snapshot."""
        if self._tables.current() is None:
            return []
        limits = self._limits_to_judge_by()
        if limits is None:
            return self._find_stored(query)
        # Nothing in the tables has the status that a late member has by now.
        now, wanted = datetime.now(UTC), query.health_status
        entries = [judged(entry, limits, now) for entry in self._find_stored(query._replace(health_status=None))]
        return [entry for entry in entries if wanted in (None, entry.metadata.health_status)]

    def _find_stored(self, query: Query) -> list[Entry]:
        # Taken before the snapshot: members that end meanwhile, and are known no more afterwards, may be in it.
        over = self.local_members.over()
        # While threads and tasks of this process are members, each search asks whether they have ended.
        has_local_members = bool(over or self.local_members)
        results = self._tables.results
        kept = None if has_local_members or query.unreachable else results.get(query)
        if kept is not None and self._all_live(kept):
            return kept.present()
        bucket, version = results.version_for(query)
        found, dead, asked = self._search(query)
        if has_local_members:
            over += [one.entry.incarnation for one in found if self.local_members.is_over(one.entry.incarnation)]
        elif not dead and not query.unreachable:
            results.keep(query, bucket, version, found, asked)
        if dead or over:
            found = [one for one in found if one.owner not in dead and one.entry.incarnation not in over]
        living = [one.entry if one.promise is None else one.present() for one in found]
        return [self._marked(entry) for entry in living] if query.unreachable else living

    def kept(self, query: Query) -> KeptResult | None:
        """What is kept of a query and holds for the tables, so that one member or a few can be taken of it without the
        others being asked for. None where `find` has to be asked. Its owners may have died: see `lives`."""
        if self._tables.current() is None or self.local_members or self._limits_to_judge_by() is not None:
            return None
        return None if query.unreachable else self._tables.results.get(query)

    def lives(self, kept: KeptResult, member: CachedEntry) -> bool:
        """Whether the owner of a member of a result is alive."""
        words = kept.words
        # The mutex first; see `lifelines`.
        if words[member.mutex_at] == member.mutex and words[member.stamp_at] == member.stamp:
            return True
        if not member.owner.pid:
            return self._tables.hosts.is_here(member.owner) and self._is_current(kept)
        return self._lives(member)

    def _lives(self, cached: CachedEntry) -> bool:
        """Whether an owner is alive that has no lifeline, or whose lifeline has broken since the entry was read."""
        if not self._liveness.is_alive(cached.owner):
            return False
        # At a death the kernel breaks the lifeline first, and makes the pidfd readable last.
        return cached.mutex == NONE.mutex or not self._liveness.is_ending(cached.owner)

    def find_first(self, query: Query, limit: int) -> list[Entry]:
        """At most `limit` of the entries of `find`, the first ones."""
        kept = self.kept(query)
        if kept is None:
            return self.find(query)[:limit]
        found: list[Entry] = []
        for member in kept.members:
            if len(found) == limit:
                break
            if self.lives(kept, member):
                found.append(member.present())
        return found

    def _all_live(self, kept: KeptResult) -> bool:
        """Whether all owners in a result are alive. False also where that has to be asked one by one."""
        others = kept.others
        if not kept.has_all_lifelines() or (others and self._liveness.alive_among(others) != others):
            return False
        hosts = kept.hosts
        return not hosts or (self._tables.hosts.here_among(hosts) == hosts and self._is_current(kept))

    def _is_current(self, kept: KeptResult) -> bool:
        """Whether the tables still give these entries, now that their hosts are known to be here."""
        return self._tables.results.is_current(kept)

    def _alive_among(self, owners: Iterable[Owner]) -> set[Owner]:
        """The owners among `owners` that are alive, or are hosts that can be reached."""
        hosts = {owner for owner in owners if not owner.pid}
        if not hosts:
            return self._liveness.alive_among(owners)
        return self._liveness.alive_among(set(owners) - hosts) | self._tables.hosts.here_among(hosts)

    def _search(self, query: Query) -> tuple[list[CachedEntry], set[Owner], set[Owner]]:
        """The entries in the tables that match, sorted by id, and of their owners those that are dead, and those of
        whom the kernel was asked."""
        cache = self._tables.cache
        before, words_before = cache.versions(), self._tables.hosts.copy()
        fresh: dict[CacheKey, CachedEntry] = {}
        nothing: tuple[list[CachedEntry], memoryview] = [], cache.lifelines
        found, words = self._tables.read(lambda txn, env: self._matches(txn, env, query, before, fresh), nothing)
        cache.keep_all(fresh)
        dead, asked = self._dead_among(found, words)
        if not query.unreachable:
            dead |= self._away_among(found, words_before)
        found.sort(key=_by_key)
        return found, dead, asked

    def _dead_among(self, found: list[CachedEntry], words: memoryview) -> tuple[set[Owner], set[Owner]]:
        """The owners that are dead, and those of whom the kernel was asked. `words` are the lifelines."""
        # The mutex first; see `lifelines`.
        doubtful = [one for one in found if words[one.mutex_at] != one.mutex or words[one.stamp_at] != one.stamp]
        if not doubtful:
            return set(), set()
        owners = {one.owner for one in doubtful if one.owner.pid}
        dead = owners - self._liveness.alive_among(owners)
        broken = {one.owner for one in doubtful if one.mutex != NONE.mutex} - dead
        return dead.union(filter(self._liveness.is_ending, broken)), owners

    def _away_among(self, found: list[CachedEntry], before: bytes) -> set[Owner]:
        """The hosts that are not here now, or were not all the time since `before`, a copy of their words."""
        owners = {one.owner for one in found if not one.owner.pid}
        if not owners:
            return owners
        hosts = self._tables.hosts
        return owners - hosts.unchanged_among(hosts.here_among(owners), before)

    def count(self, query: Query) -> int:
        """How many living entries match."""
        kept = self.kept(query)
        if kept is not None and self._all_live(kept):
            return len(kept.entries)
        over = self.local_members.over()

        def counted(txn: snapshot.Txn, environment: Environment) -> int | None:
            stored = snapshot.count_stored(txn, environment, query)
            if stored is None or stored <= MOST_COUNTED:
                return None
            owners = snapshot.owners(txn, environment)
            dead = set(owners) - self._alive_among(owners)
            gone = [entry for owner in dead for entry in snapshot.entries_of(txn, environment, owner)]
            gone += snapshot.entries_at(txn, environment, over)
            return stored - sum(query.matches(entry) for entry in gone)

        if query.unreachable or (query.health_status is not None and self._limits_to_judge_by() is not None):
            return len(self.find(query))
        known = self._tables.read(counted, None) if self._tables.current() else 0
        return len(self.find(query)) if known is None else known

    def steps_since(self, position: Position, *, here: bool = False) -> tuple[Position, list[Step] | None]:
        """The present position and the changes that lead to it from `position`, oldest first; with `here`, those of
        members of this registry alone. None in their place where the history does not reach back so far, or where the
        registry has another epoch (epoch 0 is any)."""

        def read(txn: snapshot.Txn, environment: Environment) -> tuple[Position, list[Step] | None]:
            epoch = self._tables.epoch
            is_of_epoch = position.epoch in (0, epoch)
            steps = history.steps_since(txn, environment, position.revision, here=here) if is_of_epoch else None
            return Position(epoch, snapshot.revision(txn, environment)), steps

        nothing: tuple[Position, list[Step] | None] = (position, [])
        return self._tables.read(read, nothing)

    def state_at(self, query: Query | None, since: Position | None) -> Base[list[Entry]]:
        """The entries that matched at `since`, sorted by id, and the changes from there to the present; the present
        entries and no changes where `since` is None, or where the history does not reach back to it.

        A `query` of None matches every entry of every namespace. The entries are those of the tables: an owner may have
        died since. With a query, those of hosts that could not be reached at that revision are marked.
        """

        def read(txn: snapshot.Txn, environment: Environment) -> Base[list[Entry]]:
            epoch = self._tables.epoch
            steps = None
            if since is not None and since.epoch in (0, epoch):
                here = query is not None and query.here
                steps = history.steps_since(txn, environment, since.revision, here=here)
            stored = {entry.process_id: entry for entry in self._candidates(txn, environment, query)}
            entries = history.undo(stored, steps or []).values()
            matching = [entry for entry in entries if query is None or query.matches(entry)]
            if query is not None and any(entry.origin is not None for entry in matching):
                away = history.away(snapshot.hosts(txn, environment), steps or [])
                matching = [_unreachable(entry) if entry.host in away else entry for entry in matching]
            matching.sort(key=_by_id)
            newest = Position(epoch, snapshot.revision(txn, environment))
            start = newest if since is None or steps is None else Position(epoch, since.revision)
            return Base(newest, matching, steps or [], start)

        nothing: Base[list[Entry]] = Base(NOWHERE, [])
        return self._tables.read(read, nothing)

    @property
    def reports(self) -> Reports:
        """Reads about the registry as a whole."""
        return Reports(self._tables, self._liveness, self._alive_among)

    def is_vouched_for(self) -> bool:
        """Whether the lease of this host in the cluster surely lasts."""
        return self._tables.current() is not None and self._tables.hosts.is_vouched_for()

    @property
    def progress(self) -> HostWords:
        """How far the bridge is, as the board has it."""
        self._tables.current()
        return self._tables.hosts

    def close(self) -> None:
        """Close the tables and the pidfds, for good. A thread in the middle of a read gets its answer, or
        `RegistryClosed`."""
        self._tables.close()
        self._liveness.close()

    # fork

    def quiesce(self) -> None:
        """Close the tables. Parent and child open them again at their next read."""
        self._tables.quiesce()

    def after_fork(self, *, child: bool) -> None:
        if child:
            # Its own first: the maps of the parent's may be in the middle of a change.
            liveness, self._liveness = self._liveness, self._make_liveness()
            liveness.abandon()
            self._tables.start_anew()
            # The threads and tasks are members of the parent.
            self.local_members = LocalMembers()
        else:
            self._tables.resume()

    # From the tables

    def _fetch(self, process_id: tuple[str, str, str]) -> tuple[CachedEntry | None, TwoGenerationCache]:
        """The entry under an id, which may be of a dead owner, and the cache whose page validates it."""
        cache = self._tables.cache
        cached = cache.get(process_id)
        if cached is not None:
            return cached, cache
        if len(process_id) != 3:
            raise TypeError("an id has three parts")
        key = id_key(process_id)
        if self._tables.page is None and self._tables.current() is None:
            return None, cache
        bucket, cache = page.bucket_of(key), self._tables.cache
        # Read before the snapshot is opened: if the counter has this value later, no commit has touched the id since.
        version = cache.version_of(bucket)
        read = self._tables.read(lambda txn, env: snapshot.entry_under(txn, env, key), None)
        if read is None:
            cache.keep_absent(process_id, bucket, version)
            return None, cache
        entry, size = read
        owner, promise = entry.owner, None if entry.metadata.heartbeat is None else self._promise_of(entry)
        lifeline = self._lifeline_of(cache.lifelines, owner)
        if lifeline is None:
            return None, cache
        mutex_at, mutex, stamp_at, stamp = lifeline
        cached = CachedEntry(entry, owner, key, bucket, version, size, promise, mutex_at, mutex, stamp_at, stamp)
        if entry.incarnation in self.local_members:
            # Not cached: for a cached entry, a lookup asks only whether the process lives.
            return None if self.local_members.is_over(entry.incarnation) else cached, cache
        if owner.pid == os.getpid() and cache.version_of(bucket) != version:
            # It may be that of a local member which has ended since, and is known no more: its entry is removed first.
            return self._fetch(process_id)
        cache.keep(entry.process_id, cached)
        return cached, cache

    def _lifeline_of(self, words: memoryview, owner: Owner) -> Lifeline | None:
        """The lifeline of an owner, `NONE` without one; None where it has broken because the owner is ending."""
        lifeline = lifelines.find(words, owner)
        if lifeline is not BROKEN:
            return lifeline
        return None if self._liveness.is_ending(owner) else NONE

    def _promise_of(self, entry: Entry) -> Promise | None:
        mapped = self._tables.page
        if (interval := entry.metadata.heartbeat) is None or mapped is None or entry.origin is not None:
            return None
        return Promise(entry, interval, self._tables.limits, mapped.board.rows)

    def _limits_to_judge_by(self) -> Limits | None:
        """The limits of lateness, while a member promises heartbeats and no registrar is alive to note it."""
        mapped = self._tables.page
        if mapped is None or not mapped.promises or self._liveness.is_alive(mapped.registrar):
            return None
        return self._tables.limits

    def _judged(self, entry: Entry) -> Entry:
        limits = self._limits_to_judge_by()
        return entry if limits is None else judged(entry, limits, datetime.now(UTC))

    def _candidates(self, txn: snapshot.Txn, environment: Environment, query: Query | None) -> list[Entry]:
        """Stored entries that include every match."""
        if query is None:
            return snapshot.all_entries(txn, environment)
        rows = snapshot.candidates(txn, environment, query)
        return [decode_public(row).entry for _, row in snapshot.rows_of(txn, environment, rows)]

    def _matches(
        self,
        txn: snapshot.Txn,
        environment: Environment,
        query: Query,
        before: memoryview,
        fresh: dict[CacheKey, CachedEntry],
    ) -> tuple[list[CachedEntry], memoryview]:
        """The cached entries that match, and the lifelines. Those that had to be decoded also go into `fresh`, with
        their versions of `before`."""
        newest = snapshot.revision(txn, environment)
        # Of the tables that are read here: since `before` was read, another read may have opened other tables.
        cache = self._tables.cache
        found, others = cache.current_among(snapshot.candidates(txn, environment, query), newest)
        lifeline_of = functools.cache(functools.partial(self._lifeline_of, cache.lifelines))
        for row, stored in snapshot.rows_of(txn, environment, others):
            entry = decode_public(stored).entry
            # As `key_of` and `bucket_of` have it, which would add 3 % by their calls.
            key = "\0".join(entry.process_id).encode()
            bucket = crc32(key) % BUCKETS
            owner, promise = entry.owner, None if entry.metadata.heartbeat is None else self._promise_of(entry)
            lifeline = lifeline_of(owner)
            if lifeline is None:
                continue
            mutex_at, mutex, stamp_at, stamp = lifeline
            cached = fresh[row] = CachedEntry(
                entry, owner, key, bucket, before[bucket], len(stored), promise, mutex_at, mutex, stamp_at, stamp
            )
            found.append(cached)
        matching = found if query.is_indexed else [cached for cached in found if query.matches(cached.entry)]
        return matching, cache.lifelines


class OwnChanges:
    """What a feed reads from that is about members of this registry alone: the changes of other hosts, which may be
    many, are not read, and none that is missed there counts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def position(self) -> Position:
        return self._reader.position()

    def steps_since(self, position: Position) -> tuple[Position, list[Step] | None]:
        return self._reader.steps_since(position, here=True)


def _unreachable(entry: Entry) -> Entry:
    """The entry of a member of another host, marked as one that cannot be reached."""
    origin = msgspec.structs.replace(entry.origin, reach=Reach.unreachable)  # type: ignore[type-var]
    return msgspec.structs.replace(entry, origin=origin)


_by_key = operator.attrgetter("key")
_by_id = operator.attrgetter("process_id")
