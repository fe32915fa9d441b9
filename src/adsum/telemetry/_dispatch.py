"""The attached handlers, and how an event reaches them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .._os.forking import call_around_fork
from .._os.locks import holding

Measurements: TypeAlias = dict[str, float]
Attributes: TypeAlias = dict[str, str]
Handler: TypeAlias = Callable[[str, Measurements, Attributes], object]

REGISTER = "adsum.register"
LOOKUP = "adsum.lookup"
FIND = "adsum.find"
UPDATE = "adsum.update"
UNREGISTER = "adsum.unregister"
CLAIM = "adsum.claim"
RELEASE = "adsum.release"
DIED = "adsum.died"
REJECTED = "adsum.rejected"
TIMEOUT = "adsum.timeout"
STARTED = "adsum.registrar.started"
STOPPED = "adsum.registrar.stopped"

EVENTS = (REGISTER, LOOKUP, FIND, UPDATE, UNREGISTER, CLAIM, RELEASE, DIED, REJECTED, TIMEOUT, STARTED, STOPPED)

logger = logging.getLogger("adsum.telemetry")


class _Attachment(NamedTuple):
    handler: Handler
    events: frozenset[str]


# `emit` reads only `_routes`, which is replaced whole, and takes no lock; the lock is for `add` and `remove`.
_attached: list[_Attachment] = []
_routes: dict[str, tuple[Handler, ...]] = {}
_lock = threading.RLock()
_adjust: list[Callable[[frozenset[str]], None]] = []


class _HandlerFlag(threading.local):
    """Whether this thread is inside a handler."""

    now = False


_in_handler = _HandlerFlag()


def when_changed(adjust: Callable[[frozenset[str]], None]) -> None:
    """Call `adjust` with the events that have a handler, whenever they may have changed; never twice at a time."""
    _adjust.append(adjust)


def add(handler: Handler, events: frozenset[str]) -> None:
    holding(_lock, _replace, handler, [_Attachment(handler, events)])


def remove(handler: Handler) -> bool:
    """Detach a handler. Returns whether it was attached."""
    return holding(_lock, _replace, handler, [])


def wanted() -> frozenset[str]:
    """The events that have a handler."""
    return frozenset(_routes)


def emit(
    event: str, measurements: Measurements, attributes: Attributes, catch: type[BaseException] = Exception
) -> None:
    """Call the handlers of an event. A handler that raises a `catch` is detached; other exceptions go to the caller.
    Events that a handler causes are not emitted."""
    handlers = _routes.get(event)
    if handlers is None or _in_handler.now:
        return
    _in_handler.now = True
    try:
        for handler in handlers:
            try:
                handler(event, dict(measurements), dict(attributes))
            except catch as error:
                _give_up(handler, event, error)
    finally:
        _in_handler.now = False


def _give_up(handler: Handler, event: str, error: BaseException) -> None:
    # Several threads may be inside the handler; one of them detaches it and logs that.
    if remove(handler):
        logger.error(
            "a handler raised and was detached: %r at %s",
            handler,
            event,
            exc_info=error,
            extra={"event": event, "handler": repr(handler)},
        )


def _replace(handler: Handler, by: list[_Attachment]) -> bool:
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
    # In a forked child: a thread of the parent may have held the lock.
    global _lock
    _lock = threading.RLock()
    _in_handler.now = False


call_around_fork(after_in_child=_reset_after_fork)
