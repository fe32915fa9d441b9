"""One place where `fork`, and the end of the interpreter, are told of what must come to rest first."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    def quiesce(self) -> None:
        """Before a fork, in the parent: hold what other threads may be changing."""

    def after_fork(self, *, child: bool) -> None:
        """Go on; in the child, let go of everything inherited without touching what the parent still uses."""

    def at_exit(self) -> None:
        """Come to rest for good, and leave nothing open that the interpreter would complain of."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_resting: list[ForkAware] = []


def watch_forks(thing: ForkAware) -> None:
    """Tell `thing` of every `os.fork` from now on, for as long as it lives."""
    _aware.add(thing)


def _before() -> None:
    _resting[:] = list(_aware)
    for thing in _resting:
        thing.quiesce()


def _after(*, child: bool) -> None:
    for thing in reversed(_resting):
        thing.after_fork(child=child)
    _resting.clear()


@atexit.register
def _rest_for_good() -> None:
    # Daemon threads run on while the interpreter ends. What they ask of a registry from now on they wait for, as they
    # will for the interpreter itself; an error would only be a traceback on the way out.
    for thing in list(_aware):
        thing.at_exit()


os.register_at_fork(
    before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
)
