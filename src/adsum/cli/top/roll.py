"""The roll: everybody in a registry, in all its namespaces, kept current by its history.

It is what `adsum top` shows. It reads shared memory and asks nobody, so looking starts no registrar, keeps none from
leaving, and goes on while one is stopped: an operator wants to see then more than ever.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from ...model import Entry, Kind, ProcessId, Stats
from ...registry import Registry

RATE_SECONDS = 5.0
STATS_SECONDS = 1.0
# Changes that were too many to be told apart.
MISSED = "missed"
KINDS = (Kind.registered, Kind.updated, Kind.unregistered, Kind.died)


class Scope(NamedTuple):
    """Of whom there is talk: everybody, or those in a namespace, on a node."""

    namespace: str | None = None
    node: str | None = None

    def covers(self, process_id: ProcessId) -> bool:
        return self.namespace in (None, process_id.namespace) and self.node in (None, process_id.node)


class Counts(NamedTuple):
    """How many entries there are of each sort."""

    namespaces: Counter[str]
    types: Counter[str]
    health: Counter[str]


class Mirror:
    """Everybody in `scope`. `entries` is as of the last `follow`, whoever of them lives; `fresh` says who does."""

    def __init__(self, registry: Registry, scope: Scope) -> None:
        self.registry = registry
        self.scope = scope
        self.entries: dict[ProcessId, Entry] = {}
        self.stats: Stats = registry.stats()
        self._stats_at = self._began = time.monotonic()
        self._changes: deque[tuple[float, Counter[str]]] = deque()
        self._epoch = self._revision = 0
        self._read_all()

    def follow(self) -> bool:
        """Take up what happened since. Returns whether anything did."""
        now = time.monotonic()
        if now - self._stats_at >= STATS_SECONDS:
            self._stats_at, self.stats = now, self.registry.stats()
        reader = self.registry._reader
        epoch, revision, steps = reader.steps_since(self._epoch, self._revision)
        if steps is None or (self.entries and not reader.position()[0]):
            # More than the history holds, or the registry was made anew, or removed.
            before = self._revision
            self._read_all()
            self._note(now, Counter({MISSED: max(0, self._revision - before)}))
            return True
        self._epoch, self._revision = epoch, revision
        seen: Counter[str] = Counter()
        for step in steps:
            entry = step.after or step.before
            if entry is None or not self.scope.covers(entry.process_id):
                continue
            seen[step.kind] += 1
            if step.after is not None:
                self.entries[entry.process_id] = step.after
            else:
                self.entries.pop(entry.process_id, None)
        self._note(now, seen)
        return bool(steps)

    def fresh(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that live, as they stand at this moment: a sign of life changes an entry and is no event."""
        found = (self.registry.lookup(entry.process_id) for entry in entries)
        return [entry for entry in found if entry is not None]

    def counts(self) -> Counts:
        entries = self.entries.values()
        return Counts(
            Counter(entry.process_id.namespace for entry in entries),
            Counter(str(entry.metadata.type) for entry in entries),
            Counter(str(entry.metadata.health_status) for entry in entries),
        )

    def rates(self) -> dict[str, float]:
        """Changes in a second, by kind, over the last few."""
        now = time.monotonic()
        while self._changes and self._changes[0][0] < now - RATE_SECONDS:
            self._changes.popleft()
        seconds = max(1.0, min(RATE_SECONDS, now - self._began))
        summed: Counter[str] = Counter()
        for _, seen in self._changes:
            summed.update(seen)
        return {kind: summed[kind] / seconds for kind in (*KINDS, MISSED)}

    def _note(self, now: float, seen: Counter[str]) -> None:
        if seen:
            self._changes.append((now, seen))

    def _read_all(self) -> None:
        self._epoch, self._revision, found = self.registry._reader.all_entries()
        self.entries = {entry.process_id: entry for entry in found if self.scope.covers(entry.process_id)}
