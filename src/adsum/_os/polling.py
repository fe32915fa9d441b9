"""Asking the kernel about descriptors, and waiting for them, also where a library has replaced the standard library.

gevent and eventlet replace parts of the modules `select`, `socket`, `threading` and `time` ("monkey patching"): a call
that waits lets other greenlets run, and what cannot do that is removed, `epoll` for one. So adsum makes two kinds of
calls:

- A question that never waits goes to the kernel, through the functions of this module. They are those of a copy of
  `select` that no other module has, so no library replaces them.
- A wait goes through a `WaitSet`. Where `select.select` was replaced, it waits with that, and other greenlets go on.
"""

from __future__ import annotations

import importlib.util
import select
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Protocol


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class WaitSet(Protocol):
    """Descriptors to wait for: the methods of `select.poll`, with the same meanings."""

    def register(self, descriptor: int | HasFileno, events: int, /) -> None: ...
    def modify(self, descriptor: int | HasFileno, events: int, /) -> None: ...
    def unregister(self, descriptor: int | HasFileno, /) -> None: ...
    def poll(self, milliseconds: float | None = None, /) -> list[tuple[int, int]]: ...


def _own_copy(module: ModuleType) -> ModuleType:
    """Another object of a module in C, with what it has when it is imported (multi-phase initialization, PEP 489)."""
    spec = module.__spec__
    if spec is None or spec.loader is None:
        return module
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


if TYPE_CHECKING:
    from select import EPOLLET, EPOLLIN, EPOLLRDHUP, POLLIN, POLLOUT, epoll, poll
else:
    _select = _own_copy(select)
    epoll, poll = _select.epoll, _select.poll
    POLLIN, POLLOUT = _select.POLLIN, _select.POLLOUT
    EPOLLIN, EPOLLET, EPOLLRDHUP = _select.EPOLLIN, _select.EPOLLET, _select.EPOLLRDHUP

__all__ = [
    "EPOLLET",
    "EPOLLIN",
    "EPOLLRDHUP",
    "POLLIN",
    "POLLOUT",
    "HasFileno",
    "WaitSet",
    "epoll",
    "has_greenlets",
    "is_readable",
    "poll",
    "wait_in",
    "wait_set",
]


def has_greenlets() -> bool:
    """Whether a library has replaced `select.select`. Then a thread may be a greenlet, unknown to the kernel."""
    return not isinstance(select.select, BuiltinFunctionType)


def is_readable(descriptor: int, within: float = 0) -> bool:
    """Whether a descriptor is readable, now or `within` so many seconds."""
    asked = poll()
    asked.register(descriptor, POLLIN)
    return bool(asked.poll(within * 1000))


def wait_set() -> WaitSet:
    """A new set, which waits in the way that is right in this process now."""
    return _GreenWaitSet() if has_greenlets() else poll()


def wait_in(ready: epoll, seconds: float) -> list[tuple[int, int]]:
    """The events of an epoll, after a wait of at most `seconds`; other greenlets go on meanwhile."""
    if has_greenlets():
        waiting = wait_set()
        waiting.register(ready, POLLIN)
        waiting.poll(seconds * 1000)
        seconds = 0
    return ready.poll(seconds)


class _GreenWaitSet:
    """Waits with the functions of a library, and takes the answer from the kernel."""

    def __init__(self) -> None:
        self._asked = poll()
        self._events: dict[int, int] = {}

    def register(self, descriptor: int | HasFileno, events: int, /) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._asked.register(number, events)
        self._events[number] = events

    modify = register

    def unregister(self, descriptor: int | HasFileno, /) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._asked.unregister(number)
        del self._events[number]

    def poll(self, milliseconds: float | None = None, /) -> list[tuple[int, int]]:
        ready = self._asked.poll(0)
        if ready or milliseconds == 0:
            return ready
        if hasattr(select, "poll"):
            # gevent's. Its `select` refuses descriptors from 1,024 on.
            self._wait_with_poll(milliseconds)
        else:
            # eventlet's.
            self._wait_with_select(None if milliseconds is None else milliseconds / 1000)
        return self._asked.poll(0)

    def _wait_with_poll(self, milliseconds: float | None) -> None:
        waiting = select.poll()
        for number, events in self._events.items():
            waiting.register(number, events)
        waiting.poll(milliseconds)

    def _wait_with_select(self, seconds: float | None) -> None:
        readers = [number for number, events in self._events.items() if events & POLLIN]
        writers = [number for number, events in self._events.items() if events & POLLOUT]
        select.select(readers, writers, [], seconds)
