"""Who is attached to what, and telling them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .._os.forking import call_around_fork

Measurements: TypeAlias = dict[str, float]
Attributes: TypeAlias = dict[str, str]
Handler: TypeAlias = Callable[[str, Measurements, Attributes], object]

REGISTER = "adsum.register"
LOOKUP = "adsum.lookup"
FIND = "adsum.find"
UPDATE = "adsum.update"
UNREGISTER = "adsum.unregister"
DIED = "adsum.died"
REJECTED = "adsum.rejected"
TIMEOUT = "adsum.timeout"
STARTED = "adsum.registrar.started"
STOPPED = "adsum.registrar.stopped"

EVENTS = (REGISTER, LOOKUP, FIND, UPDATE, UNREGISTER, DIED, REJECTED, TIMEOUT, STARTED, STOPPED)

logger = logging.getLogger("adsum.telemetry")


class _Attached(NamedTuple):
    handler: Handler
    events: frozenset[str]


# Whoever tells reads only `_routes`, which is replaced whole; the lock is for those who change it.
_attached: list[_Attached] = []
_routes: dict[str, tuple[Handler, ...]] = {}
_lock = threading.RLock()
_adjust: list[Callable[[frozenset[str]], None]] = []


class _Telling(threading.local):
    """Whether this thread is inside a handler."""

    now = False


_telling = _Telling()


def when_changed(adjust: Callable[[frozenset[str]], None]) -> None:
    """Call `adjust` with the events that anybody wants, whenever that may have changed; never twice at a time."""
    _adjust.append(adjust)


def add(handler: Handler, events: frozenset[str]) -> None:
    with _lock:
        _replace(handler, [_Attached(handler, events)])


def remove(handler: Handler) -> bool:
    """Whether it was attached."""
    with _lock:
        return _replace(handler, [])


def wanted() -> frozenset[str]:
    """The events that anybody wants."""
    return frozenset(_routes)


def emit(
    event: str, measurements: Measurements, attributes: Attributes, catch: type[BaseException] = Exception
) -> None:
    """Tell all who want it. What a handler raises ends with it, if it is a `catch`; an interrupt passes through."""
    handlers = _routes.get(event)
    if handlers is None or _telling.now:
        return
    _telling.now = True
    try:
        for handler in handlers:
            try:
                handler(event, dict(measurements), dict(attributes))
            except catch as error:
                _give_up(handler, event, error)
    finally:
        _telling.now = False


def _give_up(handler: Handler, event: str, error: BaseException) -> None:
    # Several threads may find out; one of them says so.
    if remove(handler):
        logger.error(
            "a handler raised and was detached: %r at %s",
            handler,
            event,
            exc_info=error,
            extra={"event": event, "handler": repr(handler)},
        )


def _replace(handler: Handler, by: list[_Attached]) -> bool:
    global _attached, _routes
    others = [one for one in _attached if one.handler != handler]
    was_there = len(others) < len(_attached)
    _attached = others + by
    events = [event for event in EVENTS if any(event in one.events for one in _attached)]
    _routes = {event: tuple(one.handler for one in _attached if event in one.events) for event in events}
    for adjust in _adjust:
        adjust(wanted())
    return was_there


def _reset_after_fork() -> None:
    # In a child of `fork`: another thread of the parent may have held it.
    global _lock
    _lock = threading.RLock()
    _telling.now = False


call_around_fork(after_in_child=_reset_after_fork)
