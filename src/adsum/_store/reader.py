"""Reads: shared memory and the kernel, nobody else.

A `Reader` serves every `Registry` that a process has open on one folder. What it decoded it keeps, and trusts for as
long as the page's counter for that id stands still; see `page`. Every answer is checked against the kernel last, so no
process that is dead at the moment of reading is handed out (S2).
"""

from __future__ import annotations

import operator
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeAlias, TypeVar

import lmdb
import msgspec

from .._os import folder as folders
from .._os.forking import watch_forks
from .._os.liveness import LivenessCheck
from .._validation import id_key
from ..errors import AdsumError, CorruptRegistry
from ..model import Departure, Entry, Limits, Owner, ProcessId, Stats
from . import audit, page, snapshot
from .environment import Environment, in_our_words, open_environment
from .layout import decode_entry, key_of
from .query import Query
from .tables import bytes_used, check_identity

T = TypeVar("T")
Place: TypeAlias = "tuple[str, str, str] | bytes"

# How much a process keeps of what it decoded: two halves of so many entries (about 1 KB each) or so many bytes of rows,
# whichever is less. When the young half is full it becomes the old one, and what is used again comes back: least
# recently used, near enough, at the price of a dict.
HALF_ENTRIES = 65_536
HALF_BYTES = 16 * 1024 * 1024

# How long a reader takes it for granted that its folder is still the one it opened.
LOOK_AGAIN_SECONDS = 1.0

# How long a read may take before whoever waits for its end looks whether there is one.
LOST_SECONDS = 0.1

# Odd, as in a commit that never ends: with no page, nothing that was kept is trusted.
_NO_COUNTERS = memoryview(array("Q", [1]) * page.BUCKETS)


class Kept(NamedTuple):
    """A decoded entry and what makes it trustworthy: its id's counter on the page, and where that stood."""

    entry: Entry
    owner: Owner
    key: bytes
    bucket: int
    stood: int
    size: int


class Reader:
    """Reads one registry's folder. Safe for threads; opens by itself, again after `fork`, again when the registry is
    made anew. Where there is no registry it answers as an empty one does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._forget()
        watch_forks(self)

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._inside: set[int] = set()
        self._resting = False
        self._page: page.Page | None = None
        self._environment: Environment | None = None
        self.limits: Limits | None = None
        self._look_again_at = 0.0
        self._liveness = LivenessCheck()
        self._counters: memoryview = _NO_COUNTERS
        # By id, for lookups, and by incarnation row, for queries.
        self._young: dict[Place, Kept] = {}
        self._young_bytes = 0
        self._old: dict[Place, Kept] = {}

    def attach(self) -> None:
        """Open the tables, if there are any, so that what is wrong with them is said now."""
        self._current()

    def lookup(self, process_id: tuple[str, str, str]) -> Entry | None:
        """The living entry under an id, or None. Errors: `InvalidProcessId`."""
        kept = self._young.get(process_id)
        if kept is None or self._counters[kept.bucket] != kept.stood:
            kept = self._fetch(process_id)
            if kept is None:
                return None
        return kept.entry if self._liveness.is_alive(kept.owner) else None

    def find(self, query: Query) -> list[Entry]:
        """The living entries that match, sorted by id, all of one snapshot."""
        if self._current() is None:
            return []
        counters = self._counters
        before = memoryview(counters.tobytes()).cast("Q")
        fresh: dict[bytes, Kept] = {}
        nobody: list[Kept] = []
        found = self._read(lambda txn, env: self._matches(txn, env, query, before, fresh), nobody)
        if counters is self._counters:
            for row, kept in fresh.items():
                self._keep(row, kept)
        alive = self._liveness.alive_among({kept.owner for kept in found})
        found.sort(key=_by_key)
        return [kept.entry for kept in found if kept.owner in alive]

    def count(self, query: Query) -> int:
        """How many living entries match."""

        def counted(txn: snapshot.Txn, environment: Environment) -> int | None:
            stored = snapshot.count_stored(txn, environment, query)
            if stored is None:
                return None
            owners = snapshot.owners(txn, environment)
            dead = set(owners) - self._liveness.alive_among(owners)
            gone = (entry for owner in dead for entry in snapshot.entries_of(txn, environment, owner))
            return stored - sum(query.matches(entry) for entry in gone)

        known = self._read(counted, None) if self._current() else 0
        return len(self.find(query)) if known is None else known

    def departures(self, limit: int) -> list[Departure]:
        return self._read(lambda txn, env: snapshot.departures(txn, env, limit), [])

    def audit(self) -> list[str]:
        """Every violation of I1 to I5 in one snapshot."""
        return self._read(audit.violations, [])

    def stats(self) -> Stats | None:
        """The registry in numbers, or None where there is none."""

        def read(txn: snapshot.Txn, environment: Environment) -> Stats:
            mapped, limits = self._page, self.limits
            if mapped is None or limits is None:
                raise CorruptRegistry("the registry was closed while it was read")
            counted = snapshot.registrar_stats(txn, environment)
            registrar = mapped.registrar
            serves = registrar.pid != 0 and self._liveness.is_alive(registrar)
            return Stats(
                entries=txn.stat(environment.ids)["entries"],
                owners=len(snapshot.owners(txn, environment)),
                revision=snapshot.revision(txn, environment),
                bytes_used=bytes_used(txn, environment),
                bytes_limit=limits.max_memory_bytes,
                registrar_pid=registrar.pid if serves else None,
                uptime=(time.monotonic_ns() - mapped.started_ns) / 1e9 if serves else 0.0,
                restarts=mapped.restarts,
                pending=counted.pending,
                cleanup_latency=counted.cleanup_latency,
                outcomes=counted.outcomes,
                unwatched_by_kernel=counted.unwatched_by_kernel,
            )

        return self._read(read, None)

    def close(self) -> None:
        self._rest()
        # The mapping holds a descriptor, and whoever closed the registry may keep the object.
        self._counters = memoryview(b"").cast("Q")
        self._liveness.close()
        self._lock.release()

    # What was decoded

    def _kept(self, place: Place) -> Kept | None:
        """What is kept in a place, as long as its counter stands where it stood."""
        kept = self._young.get(place)
        if kept is None:
            kept = self._old.pop(place, None)
            if kept is None:
                return None
            self._keep(place, kept)
        return kept if self._counters[kept.bucket] == kept.stood else None

    def _keep(self, place: Place, kept: Kept) -> None:
        if kept.stood & 1:
            return
        self._young_bytes += kept.size
        if len(self._young) >= HALF_ENTRIES or self._young_bytes > HALF_BYTES:
            self._old, self._young, self._young_bytes = self._young, {}, kept.size
        self._young[place] = kept

    def _fetch(self, process_id: tuple[str, str, str]) -> Kept | None:
        kept = self._kept(process_id)
        if kept is not None:
            return kept
        key = id_key(ProcessId(*process_id))
        if self._current() is None:
            return None
        bucket, counters = page.bucket_of(key), self._counters
        # Read before the snapshot is taken: if the counter still stands here later, nothing was committed since.
        count = counters[bucket]
        row = self._read(lambda txn, env: snapshot.row_under(txn, env, key), None)
        if row is None:
            return None
        entry = self._decoded(row)
        kept = Kept(entry, entry.owner, key, bucket, count, len(row))
        if counters is self._counters:
            self._keep(entry.process_id, kept)
        return kept

    def _decoded(self, row: bytes) -> Entry:
        try:
            return decode_entry(row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            damaged = f"a row of the tables in {self.folder} cannot be read ({error}); {page.remedy(self.folder)}"
            raise CorruptRegistry(damaged) from error

    def _matches(
        self,
        txn: snapshot.Txn,
        environment: Environment,
        query: Query,
        before: memoryview,
        fresh: dict[bytes, Kept],
    ) -> list[Kept]:
        """What matches. What had to be decoded for it goes into `fresh`, with the counters as they stood `before`."""
        decided = len(query.index_keys()) < 2
        newest = snapshot.revision(txn, environment)
        counters = self._counters
        found = []
        for row in snapshot.candidates(txn, environment, query):
            kept = self._young.get(row) or self._old.get(row)
            # Another thread may have kept it from a later snapshot than this one.
            if kept is None or counters[kept.bucket] != kept.stood or kept.entry.revision > newest:
                stored = snapshot.row_of(txn, environment, row)
                entry = self._decoded(stored)
                key = key_of(entry.process_id)
                bucket = page.bucket_of(key)
                kept = fresh[row] = Kept(entry, entry.owner, key, bucket, before[bucket], len(stored))
            if decided or query.matches(kept.entry):
                found.append(kept)
        return found

    # The tables that are current

    def _read(self, look: Callable[[snapshot.Txn, Environment], T], otherwise: T) -> T:
        """What `look` finds in one snapshot, or `otherwise` where there is no registry."""
        for last_try in (False, True):
            try:
                return self._read_once(look, otherwise)
            except lmdb.BadRslotError as error:
                # A read that was interrupted in a wrong moment left LMDB's reader slot in a state: open again.
                if last_try:
                    raise in_our_words(error, self.folder) from error
                self._rest()
                self._lock.release()
            except lmdb.Error as error:
                raise in_our_words(error, self.folder) from error
        raise AssertionError("the last try returns or raises")

    def _read_once(self, look: Callable[[snapshot.Txn, Environment], T], otherwise: T) -> T:
        # By thread, not by number: an interrupt at any moment leaves nothing that this thread does not put right.
        me = threading.get_ident()
        # A signal handler may read in the middle of a read of the same thread; the outer one goes on after it.
        inner = me in self._inside
        try:
            with self._lock:
                while self._resting and not inner:
                    self._idle.wait()
                environment = self._current()
                if environment is None:
                    return otherwise
                self._inside.add(me)
            with environment.lmdb.begin() as txn:
                return look(txn, environment)
        finally:
            if not inner:
                with self._lock:
                    self._inside.discard(me)
                    if not self._inside:
                        self._idle.notify_all()

    def _current(self) -> Environment | None:
        mapped, environment = self._page, self._environment
        if mapped is None or environment is None or mapped.generation != environment.generation:
            return self._attach()
        if time.monotonic() < self._look_again_at:
            return environment
        # A folder that was removed and made again has another page, and nobody may be left to retire this one.
        if not mapped.is_in(self.folder):
            return self._attach()
        self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
        return environment

    def look_again(self) -> None:
        """The registrar was dialled anew: make sure that this is still its folder."""
        self._look_again_at = 0.0

    def _attach(self) -> Environment | None:
        seen = self._environment
        with self._lock:
            # Another thread may have opened them while this one waited; LMDB must not be opened twice.
            current, mapped = self._environment, self._page
            if current is not seen and current and mapped and mapped.generation == current.generation:
                return current
            for _ in range(100):
                self._detach()
                if not folders.check(self.folder):
                    return None
                mapped = page.attach(self.folder)
                generation = mapped.generation if mapped else 0
                if mapped is None or not generation:
                    return None
                try:
                    environment = open_environment(self.folder, generation, mapped.map_size, writable=False)
                except AdsumError:
                    # The registrar may have moved on to other tables while these were being opened.
                    if mapped.generation == generation:
                        raise
                    continue
                self.limits = check_identity(environment)
                self._page, self._environment, self._counters = mapped, environment, mapped.counters
                self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
                return environment
            raise CorruptRegistry(f"the registry in {self.folder} is made anew all the time; who removes it?")

    def _detach(self) -> None:
        """Let go of the tables. They close when the last read that is still inside them ends."""
        self._page = self._environment = None
        self._counters = _NO_COUNTERS
        self._young, self._old, self._young_bytes = {}, {}, 0

    def _rest(self) -> None:
        """Take the lock, wait for the reads that are inside the tables, and close them."""
        self._lock.acquire()
        self._inside.discard(threading.get_ident())
        # New reads wait meanwhile, or a few busy threads would keep this one waiting for ever.
        self._resting = True
        while self._inside:
            if not self._idle.wait(LOST_SECONDS):
                self._inside &= _threads_in(Reader._read_once)
        self._resting = False
        self._idle.notify_all()
        if self._environment is not None:
            self._environment.close()
        self._detach()

    # fork

    def come_to_rest(self) -> None:
        """Close the tables: LMDB's reader slot belongs to a pid, and a child that closed its copy would free the
        parent's. Both sides open again at their next read."""
        self._rest()

    def after_fork(self, *, child: bool) -> None:
        lock = self._lock
        if child:
            self._liveness.abandon()
            self._forget()
        else:
            lock.release()

    at_exit = come_to_rest


def _threads_in(function: Callable[..., object]) -> set[int]:
    """The threads that are in the middle of a call. An interrupt in its last steps leaves one unaccounted for."""
    inside = set()
    for thread, frame in sys._current_frames().items():
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code is function.__code__:
                inside.add(thread)
            caller = caller.f_back
    return inside


_by_key = operator.attrgetter("key")
