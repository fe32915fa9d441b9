"""The last changes of a registry, read from its history: those after a revision, or the newest ones.

A change is read here as often as it is asked for. What follows the changes as they happen is the mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .. import _reads
from .._store.history import Step as Step
from ..model import Event, Kind, Revision
from ..registry import Registry

# The most changes that a list of the newest ones goes through.
MAX_RECENT = 2000


class Changes(NamedTuple):
    """Changes, oldest first, and the revision that they lead to; None for the changes where the history does not reach
    back far enough."""

    revision: Revision
    steps: Sequence[Step] | None


def changes_since(registry: Registry, since: Revision) -> Changes:
    """Read every change after the revision `since`, in all namespaces.

    >>> from adsum.views import recent
    >>> before = recent.present(registry)
    >>> registration = registry.register("planner-1")
    >>> [step.kind.value for step in recent.changes_since(registry, before).steps]
    ['registered']
    """
    return Changes(*_reads.changes_since(registry, since))


def present(registry: Registry) -> Revision:
    """The present revision, with its epoch: as cheap as memory, and never behind an acknowledged change.

    >>> from adsum.views import recent
    >>> registration = registry.register("planner-1")
    >>> recent.present(registry) == registration.entry.revision
    True
    """
    return _reads.present_revision(registry)


def newest_changes(registry: Registry, number: int = MAX_RECENT) -> Changes:
    """Read the newest changes, at most `number`, or as many as the history has: it is bounded by its bytes too.

    >>> from adsum.views import recent
    >>> registration = registry.register("planner-1")
    >>> updated = registration.update_health("degraded")
    >>> [step.kind.value for step in recent.newest_changes(registry, 1).steps]
    ['updated']
    """
    now = present(registry)
    while number >= 1:
        found = changes_since(registry, Revision(max(0, now - number), now.epoch))
        if found.steps is not None:
            return found
        number //= 2
    return Changes(now, ())


def event_of(step: Step, epoch: int) -> Event:
    """A change as an event of a watch without conditions. The exit of a death is not part of it.

    >>> from adsum.views import recent
    >>> registration = registry.register("planner-1")
    >>> revision, steps = recent.newest_changes(registry)
    >>> recent.event_of(steps[0], revision.epoch).entry == registration.entry
    True
    """
    previous = step.before if step.after is not None else None
    event = Event(step.kind, step.after or step.before, Revision(step.revision, epoch), previous)
    event.host = step.host
    return event


def lagged(revision: Revision) -> Event:
    """The event that says that changes up to this revision were missed.

    >>> from adsum.views import recent
    >>> recent.lagged(recent.present(registry)).kind.value
    'lagged'
    """
    return Event(Kind.lagged, None, revision)
