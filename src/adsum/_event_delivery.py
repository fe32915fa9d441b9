"""Calling a function for each event of a watch, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from ._os import threads
from .errors import RegistryClosed
from .model import Event

OnEvent: TypeAlias = Callable[[Event], Any]

# How long the end of a watch waits for a call of the function that has begun.
END_SECONDS = 1.0
# How long a watch pauses after an error of its own.
REPEAT_SECONDS = 1.0

log = logging.getLogger("adsum")


class EventSource(Protocol):
    """The part of a watch that its delivery needs."""

    def next(self, timeout: float | None = None) -> Event: ...


class EventDelivery:
    """Calls `on_event` for each event of `watch`, in order, until the watch ends. Errors of the function go to the log,
    and the next event follows.

    Errors: `TypeError` where it is no function; `SystemBusy` where no thread can be started.
    """

    def __init__(self, watch: EventSource, on_event: OnEvent) -> None:
        self._watch = watch
        self._on_event = on_event
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="adsum-watch", daemon=True)
        threads.start(self._thread)

    def end(self) -> None:
        """After the watch was stopped: wait for a call that has begun, but not in it."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            threads.join(self._thread, END_SECONDS)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                event = self._watch.next()
            except RegistryClosed:
                return
            except Exception as error:  # noqa: BLE001 - logged, and it may be an error of the program's `where`
                log_pause(error)
                self._ended.wait(REPEAT_SECONDS)
                continue
            if not self._ended.is_set():
                self._deliver(event)

    def _deliver(self, event: Event) -> None:
        try:
            self._on_event(event)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the program's own, which has no other place to go to
            # For SystemExit, Python ends a thread and logs nothing, and the program would go on without its events.
            log_failure(event, error)


def check_on_event(on_event: object) -> None:
    """Errors: `TypeError` unless it is a function or None."""
    if on_event is not None and not callable(on_event):
        raise TypeError(f"on_event={on_event!r}: give a function of an event, or None")


def log_pause(error: Exception) -> None:
    """Note that a watch had an error: no registrar can be started, or its condition failed, for example."""
    log.error("a watch with on_event= cannot go on now, and tries again in %g s", REPEAT_SECONDS, exc_info=error)


def log_failure(event: Event, error: BaseException) -> None:
    """Note that the function failed on an event."""
    log.error(
        "on_event= failed on %s at revision %d; the next event follows", event.kind, event.revision, exc_info=error
    )
