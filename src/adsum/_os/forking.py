"""One place where `fork` is told of what must not be shared with the child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    def before_fork(self) -> None:
        """Come to rest, in the parent: hold what other threads may be changing."""

    def after_fork(self, *, child: bool) -> None:
        """Go on; in the child, let go of everything inherited without touching what the parent still uses."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_resting: list[ForkAware] = []


def watch_forks(thing: ForkAware) -> None:
    """Tell `thing` of every `os.fork` from now on, for as long as it lives."""
    _aware.add(thing)


def _before() -> None:
    _resting[:] = list(_aware)
    for thing in _resting:
        thing.before_fork()


def _after(*, child: bool) -> None:
    for thing in reversed(_resting):
        thing.after_fork(child=child)
    _resting.clear()


os.register_at_fork(
    before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
)
