"""What `wait_for` and `wait_until_gone` wait for, and the wait that blocks its thread; `adsum.aio.waiting` has the one
that is awaited.

A wait looks, and after each change that its watch reports it looks again. It ends by what it sees in the registry,
never by an event alone, so it cannot miss a change that came before its watch. In a cluster it looks again when a host
can be reached again: its members are found then, and none of them need have changed.

No registrar need report what a reader can judge by itself: the death of a process. A wait for that looks again at an
interval, too. So it ends also while the registrar is stopped, and where none can be started.
"""

from __future__ import annotations

import math
import time
from typing import Any, Generic, NamedTuple, TypeVar

from ._instrument import instrument
from ._other_location import name_other_location
from ._reads import AnyId, RegistryReads, Where, check_where
from ._store.query import Conditions, Query
from ._watching import Watch, instant_after, is_count, timed_out
from .errors import RegistrarUnavailable, Timeout
from .model import Entry, Reach

T = TypeVar("T")

# How often a wait looks again at what the registrar need not report.
RECHECK_SECONDS = 0.2
# How long such a wait dials a registrar before it looks again.
DIAL_SECONDS = 2.0
# How long such a wait leaves a registrar alone that did not answer.
REDIAL_SECONDS = 5.0
# The errors of a watch that no registrar reports changes to.
UNREACHABLE = (Timeout, RegistrarUnavailable)


class AwaitedState(Generic[T]):
    """A state of a registry that a call waits for.

    `call` is the name of the call. `query` and `where` are what a watch has to follow so that it reports every change
    that may bring the state about. `recheck` is how often to look again without a change, in seconds; infinity where
    only changes can bring the state about.
    """

    call: str
    reads: RegistryReads
    query: Query
    where: Where | None = None
    recheck: float = math.inf

    def found(self) -> T | None:
        """The result of the wait where the state is reached, else None."""
        raise NotImplementedError

    def missed(self, seconds: float | None) -> Timeout:
        """The error of a call that waited so many seconds."""
        raise NotImplementedError


def wait(awaited: AwaitedState[T], timeout: float | None) -> T:
    """Wait until the state is reached, and return the result. Errors: `Timeout`."""
    until = instant_after(timeout)
    if (found := awaited.found()) is not None:
        return found
    reads = awaited.reads
    with Watch(reads, reads._client, awaited.query, awaited.where, None, has_hosts=True) as watch:
        changes = _ChangeWait(watch, awaited.recheck)
        while (found := awaited.found()) is None:
            if time.monotonic() >= until or not changes.wait(until):
                raise missed(awaited, timeout)
    return found


class _ChangeWait:
    """The changes that a watch reports, for a wait that looks again after each of them, and every `recheck` seconds."""

    def __init__(self, watch: Watch, recheck: float) -> None:
        self._watch = watch
        self._recheck = recheck
        self._redial_at = 0.0

    def wait(self, until: float) -> bool:
        """Wait for a change, or until it is time to look again. False where the time is up, or no registrar answers
        and only it could report a change."""
        now = time.monotonic()
        seconds = max(0.0, min(until - now, self._recheck))
        if now < self._redial_at:
            time.sleep(seconds)
            return True
        self._watch._dial_seconds = max(0.0, min(until - now, DIAL_SECONDS))
        try:
            self._watch.next(seconds)
        except UNREACHABLE as error:
            if self._recheck == math.inf:
                if isinstance(error, Timeout):
                    return False
                raise
            if not self._watch._is_connected:
                self._redial_at = time.monotonic() + REDIAL_SECONDS
        return True


def missed(awaited: AwaitedState[Any], timeout: float | None) -> Timeout:
    """The error of a wait that timed out, which is also reported to telemetry."""
    error = awaited.missed(timeout)
    name_other_location(error, awaited.reads._client)
    if (report := instrument.wait_timed_out) is not None:
        report(awaited.call, awaited.reads.folder, awaited.query.searched, timeout or 0.0, error)
    return error


class WaitCondition(AwaitedState[Entry | list[Entry]]):
    """The members that a call of `wait_for` waits for: the one under an id, in a state that matches conditions; or so
    many that match conditions."""

    call = "wait_for"

    def __init__(
        self, reads: RegistryReads, id: AnyId | None, count: int, where: Where | None, conditions: Conditions
    ) -> None:
        if id is not None and count != 1:
            raise TypeError("give an id or count=, not both: an id has one holder")
        if not is_count(count):
            raise ValueError(f"count={count!r}: give a number from 0 up")
        check_where(where)
        self.reads = reads
        self.where = where
        # Raises here for a mistake in the conditions, whether there are enough members already or not.
        self.query = reads._query(id, conditions)
        self._count = count
        self._conditions = conditions

    def __str__(self) -> str:
        conditions = ", ".join(f"{name}={value!r}" for name, value in self._conditions.items() if value is not None)
        given = f" with {conditions}" if conditions else ""
        if self.query.process_id is not None:
            return f"{self.query.process_id}{given} was"
        return f"1 member{given} was" if self._count == 1 else f"{self._count} members{given} were"

    def missed(self, seconds: float | None) -> Timeout:
        return timed_out(f"{self} not registered", seconds)

    def found(self) -> Entry | list[Entry] | None:
        """The entry under the id, or all matching entries where there are enough; else None."""
        if self.query.process_id is None:
            found = self.reads.find(where=self.where, **self._conditions)
            return found if len(found) >= self._count else None
        entry = self.reads._matching(self.query.process_id, self.query)
        return entry if entry is None or self.where is None or self.where(entry) else None


class HolderEnd(NamedTuple):
    """The end of a wait for an end: the entry that was there when the wait began."""

    last: Entry | None


class GoneCondition(AwaitedState[HolderEnd]):
    """The end of the registration that holds an id when this object is made. A member that cannot be reached has not
    ended: nothing is known of it until its host is back, or is forgotten."""

    call = "wait_until_gone"
    recheck = RECHECK_SECONDS

    def __init__(self, reads: RegistryReads, id: AnyId) -> None:
        self.reads = reads
        self.query = reads._query(id, {})
        self._id = reads._id(id)
        self._holder = reads.lookup(self._id, unreachable=True)

    def found(self) -> HolderEnd | None:
        present = self.reads.lookup(self._id, unreachable=True)
        if self._holder is None or present is None or present.incarnation != self._holder.incarnation:
            return HolderEnd(self._holder)
        return None

    def missed(self, seconds: float | None) -> Timeout:
        present = self.reads.lookup(self._id, unreachable=True)
        if present is not None and present.reach is Reach.unreachable:
            why = f"as far as is known here (its host {present.host} cannot be reached)"
            return timed_out(f"{self._id} did not end, {why},", seconds)
        return timed_out(f"{self._id} was still registered, it did not end", seconds)
