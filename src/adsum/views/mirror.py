"""A live copy of all entries of a registry, kept current by the change feed.

`adsum top` and the web pages show it. It reads shared memory and sends no request, so it starts no registrar, keeps
none from leaving, and goes on while one is stopped: that is when an operator needs it most.

    mirror = Mirror(adsum.open(), Scope(namespace="default"))
    while mirror.follow():
        print(len(mirror.entries), mirror.rates()["died"])
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .._reads import change_feed
from .._store.history import Step
from ..model import Entry, ProcessId, Revision, Stats
from ..registry import Registry
from .rates import RATE_SECONDS, Rates

STATS_SECONDS = 1.0


class Scope(NamedTuple):
    """Which entries count: all of them, or those of one namespace, on one node.

    >>> from adsum.views.mirror import Scope
    >>> Scope(namespace="default").covers(adsum.ProcessId("default", "here", "planner-1"))
    True
    """

    namespace: str | None = None
    node: str | None = None

    def covers(self, process_id: ProcessId) -> bool:
        """Whether an entry under this id counts.

        >>> from adsum.views.mirror import Scope
        >>> Scope(node="elsewhere").covers(adsum.ProcessId("default", "here", "planner-1"))
        False
        """
        return self.namespace in (None, process_id.namespace) and self.node in (None, process_id.node)


class Counts(NamedTuple):
    """How many entries there are by namespace, by type and by health status."""

    namespaces: Counter[str]
    types: Counter[str]
    health: Counter[str]


class Followed(NamedTuple):
    """What a mirror learned: the changes in its scope and those of hosts, oldest first. Where changes were missed,
    `is_new` says that all entries were read anew, and there are no changes."""

    changes: Sequence[Step]
    is_new: bool = False


class Mirror:
    """The entries in `scope` as of the last `follow`, including those of processes that have died since; `fresh` asks
    the registry which of them are alive.

    >>> from adsum.views.mirror import Mirror, Scope
    >>> mirror = Mirror(registry, Scope(namespace="default"))
    >>> registration = registry.register("planner-1")
    >>> mirror.follow(), [id.local_id for id in mirror.entries]
    (True, ['planner-1'])
    """

    def __init__(self, registry: Registry, scope: Scope) -> None:
        self.registry = registry
        self.scope = scope
        self.stats: Stats = registry.stats()
        self._stats_at = time.monotonic()
        self._rates = Rates()
        self._advanced_at = time.monotonic()
        self._feed = change_feed(registry)
        self.entries: dict[ProcessId, Entry] = self._covered(self._feed.base)

    def follow(self) -> bool:
        """Apply the changes since the last call. Returns whether there were any.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> mirror = Mirror(registry, Scope())
        >>> mirror.follow()
        False
        """
        before = self._feed.position
        return self.advance().is_new or self._feed.position != before

    @property
    def revision(self) -> Revision:
        """The mirror has every change up to this revision.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> registration = registry.register("planner-1")
        >>> Mirror(registry, Scope()).revision == registration.entry.revision
        True
        """
        position = self._feed.position
        return Revision(position.revision, position.epoch)

    def advance(self) -> Followed:
        """Apply the changes since the last call, and return them.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> mirror = Mirror(registry, Scope())
        >>> registration = registry.register("planner-1")
        >>> [step.kind.value for step in mirror.advance().changes]
        ['registered']
        """
        now = time.monotonic()
        if now - self._stats_at >= STATS_SECONDS:
            self._stats_at, self.stats = now, self.registry.stats()
        if now - self._advanced_at >= RATE_SECONDS:
            # When the changes since then happened is not known.
            self._rates = Rates()
        is_rated, self._advanced_at = now - self._advanced_at < RATE_SECONDS, now
        before = self._feed.position.revision
        if self._feed.is_gone():
            # The folder was removed. No change says so.
            self._feed.restart()
            self.entries = self._covered(self._feed.base)
            return Followed((), is_new=True)
        if not self._feed.advance():
            self.entries = self._covered(self._feed.base)
            if is_rated:
                self._rates.note_missed(max(0, self._feed.position.revision - before))
            return Followed((), is_new=True)
        changes = self._taken()
        if is_rated:
            self._rates.note(Counter(step.kind for step in changes if not step.host))
        return Followed(changes)

    def _taken(self) -> list[Step]:
        """Apply the pending changes, and return those that are in the scope. One of a host changes no entry: `fresh`
        says which members can be reached."""
        changes = []
        while (step := self._feed.take()) is not None:
            entry = step.after or step.before
            if entry is not None and not self.scope.covers(entry.process_id):
                continue
            changes.append(step)
            if step.after is not None:
                self.entries[step.after.process_id] = step.after
            elif entry is not None:
                self.entries.pop(entry.process_id, None)
        return changes

    def fresh(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries among `entries` that are alive, as they are at this moment: a heartbeat changes an entry without
        being a change of the registry.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> registration = registry.register("planner-1")
        >>> mirror = Mirror(registry, Scope())
        >>> mirror.fresh(mirror.entries.values()) == [registration.entry]
        True
        """
        found = (self.registry.lookup(entry.process_id) for entry in entries)
        return [entry for entry in found if entry is not None]

    def counts(self) -> Counts:
        """The entries counted by namespace, type and health status.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> registration = registry.register("planner-1")
        >>> Mirror(registry, Scope()).counts().types
        Counter({'agent': 1})
        """
        entries = self.entries.values()
        return Counts(
            Counter(entry.process_id.namespace for entry in entries),
            Counter(str(entry.metadata.type) for entry in entries),
            Counter(str(entry.metadata.health_status) for entry in entries),
        )

    def rates(self) -> dict[str, float]:
        """Changes per second by kind, over the last few seconds; `rates.MISSED` counts changes that were missed.

        >>> from adsum.views.mirror import Mirror, Scope
        >>> Mirror(registry, Scope()).rates()["died"]
        0.0
        """
        return self._rates.per_second()

    def _covered(self, entries: Iterable[Entry]) -> dict[ProcessId, Entry]:
        return {entry.process_id: entry for entry in entries if self.scope.covers(entry.process_id)}
