"""Measuring calls: functions that stand in the place of a registry's own, while somebody wants what they tell.

Each point is a method of a class and the events that need it measured. Where none of them is wanted the class has its
own function; no call asks whether anybody listens.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from .. import _wire as wire
from .._reads import RegistryReads
from .._watching import Wanted
from .._writes import Ask, RegistryWrites
from ..errors import AdsumError, Timeout
from ..model import Entry
from ..registry import Registry
from ._dispatch import (
    FIND,
    LOOKUP,
    REGISTER,
    REJECTED,
    TIMEOUT,
    UNREGISTER,
    UPDATE,
    Attributes,
    emit,
    when_changed,
)

Function: TypeAlias = Callable[..., Any]
_clock = time.perf_counter


def _namespace_of(id: object, registry: RegistryReads) -> str:
    """That of an id as a caller gave it, which may be anything."""
    first = id[0] if isinstance(id, tuple) and id else None
    return first if isinstance(first, str) else registry.namespace


def _about(registry: RegistryReads, call: str, namespace: str) -> Attributes:
    return {"registry": str(registry.folder), "namespace": namespace, "call": call}


def _tell_failed(
    error: AdsumError, seconds: float, attributes: Attributes, catch: type[BaseException] = Exception
) -> None:
    event = TIMEOUT if isinstance(error, Timeout) else REJECTED
    emit(event, {"duration": seconds}, {**attributes, "reason": error.reason}, catch)


# Reads


def _lookup(original: Function) -> Function:
    @functools.wraps(original)
    def lookup(self: RegistryReads, id: Any) -> Entry | None:
        began = _clock()
        about = _about(self, "lookup", _namespace_of(id, self))
        try:
            entry: Entry | None = original(self, id)
        except AdsumError as error:
            _tell_failed(error, _clock() - began, about)
            raise
        about["result"] = "absent" if entry is None else "found"
        emit(LOOKUP, {"duration": _clock() - began}, about)
        return entry

    return lookup


def _query(call: str, count: Callable[[Any], int]) -> Callable[[Function], Function]:
    def measured(original: Function) -> Function:
        @functools.wraps(original)
        def query(self: RegistryReads, **conditions: Any) -> Any:
            if call == "count" and conditions.get("where") is not None:
                # It is answered by `find`, which tells.
                return original(self, **conditions)
            began = _clock()
            namespace = conditions.get("namespace")
            about = _about(self, call, namespace if isinstance(namespace, str) else self.namespace)
            try:
                found = original(self, **conditions)
            except AdsumError as error:
                _tell_failed(error, _clock() - began, about)
                raise
            emit(FIND, {"duration": _clock() - began, "count": count(found)}, about)
            return found

        return query

    return measured


# Writes


class Call:
    """A write, from when it was asked for until it is answered."""

    __slots__ = ("_about", "_began", "_event", "is_behind")

    def __init__(self, registry: RegistryReads, event: str | None, call: str, id: object) -> None:
        self._began: float | None = _clock()
        self._event = event
        self._about = _about(registry, call, _namespace_of(id, registry))
        # Answered in a thread of adsum's own, which must go on whatever a handler raises.
        self.is_behind = False

    def waits(self) -> None:
        """How long it takes is up to others."""
        self._began = None
        self.is_behind = True

    def watch(self, ask: Ask[Any]) -> Ask[Any]:
        """The same request, which tells when it is done."""
        return ask._replace(take=self.taking(ask.take), measured=self)

    def taking(self, take: Callable[[wire.Done], Any]) -> Callable[[wire.Done], Any]:
        def taken(done: wire.Done) -> Any:
            result = take(done)
            self._succeeded(done)
            return result

        return taken

    def failed(self, error: AdsumError) -> None:
        _tell_failed(error, self._seconds or 0.0, self._about, self._catch)

    def settled(self, asked: Future[Any]) -> None:
        if not asked.cancelled() and isinstance(error := asked.exception(), AdsumError):
            self.failed(error)

    def _succeeded(self, done: wire.Done) -> None:
        if self._event is None:
            return
        measurements: dict[str, float] = {} if self._seconds is None else {"duration": self._seconds}
        about = self._about
        if self._event == REGISTER:
            measurements["count"] = len(done.entries) if done.changed else 0
            about = {**about, "result": "registered" if done.changed else "held"}
        elif self._event == UNREGISTER:
            measurements["count"] = int(done.changed)
        emit(self._event, measurements, about, self._catch)

    @property
    def _seconds(self) -> float | None:
        return None if self._began is None else _clock() - self._began

    @property
    def _catch(self) -> type[BaseException]:
        return BaseException if self.is_behind else Exception


def _asked(call: Call, ask: Callable[[], Ask[Any]]) -> Ask[Any]:
    try:
        return call.watch(ask())
    except AdsumError as error:
        call.failed(error)
        raise


def _first_id(items: Any) -> object:
    # What a caller gave, and is told about by whoever checks it.
    try:
        return items[0][0]
    except (TypeError, LookupError):
        return None


def _ask_register(original: Function) -> Function:
    @functools.wraps(original)
    def ask_register(self: RegistryWrites, items: Any, process: Any, *, or_get: bool = False) -> Ask[Any]:
        call = Call(self, REGISTER, "get_or_register" if or_get else "register", _first_id(items))
        return _asked(call, lambda: original(self, items, process, or_get=or_get))

    return ask_register


def _ask_update(original: Function) -> Function:
    @functools.wraps(original)
    def ask_update(self: RegistryWrites, id: Any, *rest: Any, checked: bool) -> Ask[Any]:
        call = Call(self, UPDATE, "update_health" if checked else "update", id)
        return _asked(call, lambda: original(self, id, *rest, checked=checked))

    return ask_update


def _ask_about(event: str | None, name: str) -> Callable[[Function], Function]:
    def measured(original: Function) -> Function:
        @functools.wraps(original)
        def ask(self: RegistryWrites, what: Any, *rest: Any) -> Ask[Any]:
            call = Call(self, event, name, what.process_id if isinstance(what, Entry) else what)
            return _asked(call, lambda: original(self, what, *rest))

        return ask

    return measured


def _stand_by(original: Function) -> Function:
    @functools.wraps(original)
    def stand_by(self: RegistryWrites, id: Any, metadata: Any, take: Any, timeout: Any) -> Any:
        call = Call(self, REGISTER, "stand_by", id)
        call.waits()
        try:
            queued, granted = original(self, id, metadata, call.taking(take), timeout)
        except AdsumError as error:
            call.failed(error)
            raise
        granted.add_done_callback(call.settled)
        return queued, granted

    return stand_by


def _send(original: Function) -> Function:
    @functools.wraps(original)
    def send(self: RegistryWrites, ask: Ask[Any], timeout: Any) -> Future[Any]:
        call = ask.measured
        if not isinstance(call, Call):
            sent: Future[Any] = original(self, ask, timeout)
            return sent
        call.is_behind = True
        try:
            sent = original(self, ask, timeout)
        except AdsumError as error:
            call.failed(error)
            raise
        sent.add_done_callback(call.settled)
        return sent

    return send


def _run(original: Function) -> Function:
    @functools.wraps(original)
    def run(self: Registry, ask: Ask[Any], timeout: Any) -> Any:
        try:
            return original(self, ask, timeout)
        except AdsumError as error:
            # What is bound is sent, and told of there.
            if isinstance(ask.measured, Call) and not ask.bound:
                ask.measured.failed(error)
            raise

    return run


def _too_late(original: Function) -> Function:
    @functools.wraps(original)
    def too_late(self: Wanted, seconds: float | None) -> Timeout:
        error: Timeout = original(self, seconds)
        _tell_failed(error, seconds or 0.0, _about(self.reads, "wait_for", self.namespace))
        return error

    return too_late


class _Point(NamedTuple):
    """A method, the events that need it measured, and what measures it."""

    owner: type
    name: str
    events: frozenset[str]
    measured: Callable[[Function], Function]


_FAILURES = frozenset({REJECTED, TIMEOUT})
_POINTS = (
    _Point(RegistryReads, "lookup", _FAILURES | {LOOKUP}, _lookup),
    _Point(RegistryReads, "find", _FAILURES | {FIND}, _query("find", len)),
    _Point(RegistryReads, "count", _FAILURES | {FIND}, _query("count", int)),
    _Point(RegistryWrites, "_ask_register", _FAILURES | {REGISTER}, _ask_register),
    _Point(RegistryWrites, "_ask_update", _FAILURES | {UPDATE}, _ask_update),
    _Point(RegistryWrites, "_ask_hand_over", _FAILURES | {UPDATE}, _ask_about(UPDATE, "hand_over")),
    _Point(RegistryWrites, "_ask_unregister", _FAILURES | {UNREGISTER}, _ask_about(UNREGISTER, "unregister")),
    _Point(RegistryWrites, "_ask_heartbeat", _FAILURES, _ask_about(None, "heartbeat")),
    _Point(RegistryWrites, "_stand_by", _FAILURES | {REGISTER}, _stand_by),
    # A request that is answered in another thread must know so, if it tells of anything.
    _Point(RegistryWrites, "_send", _FAILURES | {REGISTER, UPDATE, UNREGISTER}, _send),
    _Point(Registry, "_run", _FAILURES, _run),
    _Point(Wanted, "too_late", frozenset({TIMEOUT}), _too_late),
)
_originals: dict[_Point, Function] = {}


def _adjust(wanted: frozenset[str]) -> None:
    for point in _POINTS:
        if point.events & wanted and point not in _originals:
            original = vars(point.owner)[point.name]
            _originals[point] = original
            setattr(point.owner, point.name, point.measured(original))
        elif point in _originals and not point.events & wanted:
            setattr(point.owner, point.name, _originals[point])
            del _originals[point]


def be_ready() -> None:
    when_changed(_adjust)
