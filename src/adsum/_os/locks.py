"""Holding a lock in such a way that no interrupt leaves it acquired.

A signal handler may raise after any call of C code. Since Python 3.14 that includes the call with which a ``with``
statement enters a lock (cpython issue 148874): the lock is acquired, its block has not begun, and nothing would release
it. Therefore no lock of adsum is entered by ``with``. It is acquired inside a ``try``, and the first call in the
``finally`` releases it.

Such a lock is a `threading.RLock`. It knows which thread holds it: where the wait for it was interrupted, the release
fails and changes nothing. A thread that holds it already does not wait.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .._foreign import reraise_foreign


class HasLock(Protocol):
    _lock: threading.RLock


S = TypeVar("S", bound=HasLock)
P = ParamSpec("P")
R = TypeVar("R")


def holding(lock: threading.RLock, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Make a call while this thread holds the lock, and return its result."""
    try:
        lock.acquire()
        return call(*arguments, **named)
    finally:
        try:
            lock.release()
        except RuntimeError as error:
            reraise_foreign(error)


def locked(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that runs while its thread holds `self._lock`."""

    @functools.wraps(method)
    def run(self: S, /, *arguments: P.args, **named: P.kwargs) -> R:
        return holding(self._lock, method, self, *arguments, **named)

    return run
