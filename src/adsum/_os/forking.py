"""All hooks around `fork` and at the end of the interpreter, in one place and one order.

An object with threads, locks or descriptors of its own registers itself with `add_fork_aware`; a module registers plain
functions with `call_around_fork` and `call_at_exit`.

- Before a fork: the modules' ``before`` functions, the latest first; then every object *quiesces*.
- After it, in parent and child: every object *resumes*, in the opposite order; then the modules' functions, the
  earliest first.
- At exit: the modules' functions, the latest first; then every object's `at_exit`.

This is the order of `os.register_at_fork` itself, so that what is acquired first is released last. No other module of
adsum calls `os.register_at_fork` or `atexit.register`.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Protocol


class ForkAware(Protocol):
    """An object that must not be in the middle of a change while the process forks."""

    def quiesce(self) -> None:
        """Before a fork, in the parent: hold everything that another thread may be changing."""

    def after_fork(self, *, child: bool) -> None:
        """Resume. In the child: drop everything inherited, without touching what the parent still uses."""

    def at_exit(self) -> None:
        """Quiesce for good, and leave nothing open that the interpreter would warn of."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_quiesced: list[ForkAware] = []
_before_fork: list[Callable[[], object]] = []
_after_in_parent: list[Callable[[], object]] = []
_after_in_child: list[Callable[[], object]] = []
_at_exit: list[Callable[[], object]] = []


def add_fork_aware(thing: ForkAware) -> None:
    """Call the hooks of `thing` at every `os.fork` and at exit, for as long as it lives."""
    _aware.add(thing)


def call_around_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Call a module's functions at every `os.fork` from now on."""
    for hooks, hook in ((_before_fork, before), (_after_in_parent, after_in_parent), (_after_in_child, after_in_child)):
        if hook is not None:
            hooks.append(hook)


def call_at_exit(hook: Callable[[], object]) -> None:
    """Call a module's function when the interpreter ends, before any object quiesces."""
    _at_exit.append(hook)


def _before() -> None:
    for hook in reversed(_before_fork):
        hook()
    _quiesced[:] = list(_aware)
    for thing in _quiesced:
        thing.quiesce()


def _after(*, child: bool) -> None:
    for thing in reversed(_quiesced):
        thing.after_fork(child=child)
    _quiesced.clear()
    for hook in _after_in_child if child else _after_in_parent:
        hook()


@atexit.register
def _exit() -> None:
    for hook in reversed(_at_exit):
        hook()
    # Daemon threads run on while the interpreter ends. A call that one of them makes from now on waits until the
    # process is gone; an error would only print a traceback on the way out.
    for thing in list(_aware):
        thing.at_exit()


os.register_at_fork(
    before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
)
