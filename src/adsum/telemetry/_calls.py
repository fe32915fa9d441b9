"""Events of calls: each is emitted when a call of this process ends.

`_adjust` assigns `_CallObserver` to those points of `instrument` that a handler needs, and None to the others.
"""

from __future__ import annotations

import time
from pathlib import Path

from .._instrument import CallPoint, instrument
from ..errors import AdsumError, Timeout
from ._dispatch import (
    CLAIM,
    FIND,
    LOOKUP,
    REGISTER,
    REJECTED,
    RELEASE,
    TIMEOUT,
    UNREGISTER,
    UPDATE,
    Attributes,
    Measurements,
    emit,
    when_changed,
)

_clock = time.perf_counter

# The event of a call that succeeds; a heartbeat has none.
_EVENTS: dict[str, str] = {
    "lookup": LOOKUP,
    "find": FIND,
    "count": FIND,
    "register": REGISTER,
    "get_or_register": REGISTER,
    "stand_by": REGISTER,
    "update": UPDATE,
    "update_health": UPDATE,
    "hand_over": UPDATE,
    "unregister": UNREGISTER,
    "claim": CLAIM,
    "release": RELEASE,
}
# It has no duration, because that depends on how long another member lives.
_UNTIMED = "stand_by"


class _CallObserver:
    """An `Observer` that emits the event of a call."""

    __slots__ = ("_attributes", "_began", "_event")

    def __init__(self, call: str, folder: Path, id: object, namespace: str) -> None:
        self._began = _clock()
        self._event = _EVENTS.get(call)
        self._attributes = _attributes(call, folder, _namespace_of(id, namespace))

    def succeeded(self, entries: int, *, changed: bool = False, background: bool = False) -> None:
        if self._event is None:
            return
        measurements, attributes = self._measurements(), self._attributes
        if self._event == LOOKUP:
            attributes["result"] = "found" if entries else "absent"
        elif self._event == FIND:
            measurements["count"] = entries
        elif self._event == REGISTER:
            measurements["count"] = entries if changed else 0
            attributes["result"] = "registered" if changed else "held"
        elif self._event in (UNREGISTER, RELEASE):
            measurements["count"] = int(changed)
        emit(self._event, measurements, attributes, _caught(background))

    def failed(self, error: AdsumError, *, background: bool = False) -> None:
        _emit_failure(error, self._measurements().get("duration", 0.0), self._attributes, _caught(background))

    def _measurements(self) -> Measurements:
        return {} if self._attributes["call"] == _UNTIMED else {"duration": _clock() - self._began}


def _caught(background: bool) -> type[BaseException]:
    # A thread of adsum's own must go on, whatever a handler raises.
    return BaseException if background else Exception


def _attributes(call: str, folder: Path, namespace: str) -> Attributes:
    return {"registry": str(folder), "namespace": namespace, "call": call}


def _namespace_of(id: object, namespace: str) -> str:
    """The namespace that an id names, which may be any object; else the one that a plain string is completed with."""
    first = id[0] if isinstance(id, tuple) and id else None
    return first if isinstance(first, str) else namespace


def _emit_failure(error: AdsumError, seconds: float, attributes: Attributes, caught: type[BaseException]) -> None:
    event = TIMEOUT if isinstance(error, Timeout) else REJECTED
    emit(event, {"duration": seconds}, {**attributes, "reason": error.reason}, caught)


def _wait_timed_out(call: str, folder: Path, namespace: str, seconds: float, error: AdsumError) -> None:
    _emit_failure(error, seconds, _attributes(call, folder, namespace), Exception)


def _adjust(wanted: frozenset[str]) -> None:
    instrument.lookup = _begin_for(wanted, LOOKUP)
    instrument.find = _begin_for(wanted, FIND)
    instrument.register = _begin_for(wanted, REGISTER)
    instrument.update = _begin_for(wanted, UPDATE)
    instrument.unregister = _begin_for(wanted, UNREGISTER)
    instrument.heartbeat = _begin_for(wanted)
    instrument.claim = _begin_for(wanted, CLAIM)
    instrument.release = _begin_for(wanted, RELEASE)
    instrument.wait_timed_out = _wait_timed_out if TIMEOUT in wanted else None


def _begin_for(wanted: frozenset[str], *events: str) -> CallPoint | None:
    """An observer for each call that may end in one of these events, or fail; None where no handler wants those."""
    return _CallObserver if wanted & {REJECTED, TIMEOUT, *events} else None


def be_ready() -> None:
    when_changed(_adjust)
