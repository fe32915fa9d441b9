"""The writing half of a registry: what each call asks of the registrar, and what it makes of the reply.

`Registry` asks and waits, `AsyncRegistry` asks and awaits; what they ask is the same and stands here once.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar

from . import _wire as wire
from ._client.client import Client
from ._client.connection_pool import seconds
from ._client.dial import START_SECONDS
from ._client.pending_call import Queueing
from ._client.pipeline import Pipeline
from ._client.target import Target, resolve
from ._reads import AnyId, RegistryReads
from ._store.local_members import LocalMembers
from ._store.query import Conditions, Query, parse_query
from ._validation import parse_metadata
from .errors import RegistryClosed, Stale
from .model import Entry, Limits

T = TypeVar("T")

# How long to wait before the end of a thread or task is told again, where it could not be.
AGAIN_SECONDS = 0.1


class Ask(NamedTuple, Generic[T]):
    """A request in the making. `bound` asks must go through the pipeline, whose session the entries live in. `measured`
    is what `adsum.telemetry` keeps with it, while somebody listens."""

    request: wire.AnyRequest
    take: Callable[[wire.Done], T]
    bound: bool = False
    measured: object = None


class RegistryWrites(RegistryReads):
    """Builds requests and owns the ways to send them."""

    def __init__(
        self,
        name: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        namespace: str = "default",
        node: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.timeout = seconds(timeout)
        self._client: Client = self._open(name, path, namespace, node, limits)
        self._finalizer = weakref.finalize(self, self._client.drop)
        self._finalizer.atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), str(self.folder), self.namespace, self.node, self.timeout, self.limits)

    def _close(self) -> None:
        self._mark_closed()
        if self._finalizer.detach():
            self._client.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else seconds(timeout)

    def _ask_register(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any, *, or_get: bool = False
    ) -> Ask[wire.Done]:
        target = resolve(process)
        checked = [(self._id(id), parse_metadata(metadata)) for id, metadata in items]
        bound = target.member is not None

        request = wire.Register(owner=target.owner, items=checked, bound=bound, or_get=or_get)

        def take(done: wire.Done) -> wire.Done:
            if bound and done.changed:
                for entry in done.entries:
                    self._client.reader.add_local_member(entry, target.over())
                    target.when_over(_ender(self._client.pipeline, entry, self._client.reader.local_members))
            return done

        if bound:
            self._client.pipeline.hold_entries()
        return Ask(request, take, bound)

    def _take_back(self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any, since: int) -> None:
        """Undo what happened of an interrupted registration after revision `since`. Waits for nobody."""
        owner, reader = resolve(process).owner, self._client.reader

        def look(_: object) -> None:
            for id, _metadata in items:
                entry = reader.lookup(self._id(id))
                if entry is not None and entry.incarnation > since and entry.owner == owner:
                    self._give_back(entry)

        # What was sent before is taken up or dropped before this is answered.
        _cancel(self._client.pipeline, 0, look)

    def _ask_update(self, id: AnyId, metadata: dict[str, Any], if_incarnation: int | None, checked: bool) -> Ask[Entry]:
        process_id, fields = self._id(id), parse_metadata(metadata)
        _check_incarnation(if_incarnation)

        request = wire.Update(
            process_id=process_id,
            fields=fields,
            if_incarnation=if_incarnation,
            checked=checked,
        )

        return Ask(request, _first_entry)

    def _ask_unregister(self, id: AnyId, if_incarnation: int | None) -> Ask[bool]:
        _check_incarnation(if_incarnation)
        request = wire.Unregister(process_id=self._id(id), if_incarnation=if_incarnation)
        return Ask(request, _was_there)

    def _ask_hand_over(self, entry: Entry, process: Any) -> Ask[Entry]:
        target: Target = resolve(process)
        if process is None:
            raise TypeError("hand_over(None): give the process that is to hold the id from now on")
        if target.member is not None:
            raise TypeError("an id is handed over to another process; a thread or task of this one can register itself")

        request = wire.HandOver(
            process_id=entry.process_id,
            owner=target.owner,
            if_incarnation=entry.incarnation,
        )

        return Ask(request, _first_entry)

    def _ask_heartbeat(self, id: AnyId, if_incarnation: int | None) -> Ask[Entry]:
        process_id = self._id(id)

        request = wire.Heartbeat(
            process_id=process_id,
            owner=resolve(None).owner,
            if_incarnation=if_incarnation,
        )

        return Ask(request, _first_entry)

    def _stand_by(
        self, id: AnyId, metadata: dict[str, Any], take: Callable[[wire.Done], T], timeout: float | None
    ) -> tuple[Future[None], Future[T]]:
        """Queue for an id: the first future is done when the registrar has answered, the second when the id is held."""
        process_id, fields, owner = self._id(id), parse_metadata(metadata), resolve(None).owner
        pipeline = self._client.pipeline
        request = wire.StandBy(process_id=process_id, owner=owner, fields=fields)

        def refused(done: wire.Done) -> None:
            self._give_back(done.entries[0])

        def cancelled(granted: Future[T]) -> None:
            if granted.cancelled() and pending.sent:
                # No reply comes for a request after its cancellation was answered.
                _cancel(pipeline, pending.number, lambda _: pipeline.forget(pending.number))

        # Its place is bound to this session, which must be seen to live on.
        pipeline.hold_entries()
        queued: Future[None] = Future()
        pending = pipeline.submit(request, take, self._seconds(timeout), patience=Queueing(queued, refused))
        pending.future.add_done_callback(cancelled)
        return queued, pending.future

    def _give_back(self, entry: Entry) -> None:
        """End a registration that nobody holds. Waits for nobody."""
        _ender(self._client.pipeline, entry, self._client.reader.local_members)()

    def _query(self, id: AnyId | None, conditions: Conditions) -> Query:
        """What to watch: one id, or what `find` takes."""
        if id is None:
            return parse_query(self.namespace, conditions)
        if conditions:
            raise TypeError("give an id or conditions, not both")
        process_id = self._id(id)
        return Query(process_id.namespace, process_id=process_id)

    def _send(self, ask: Ask[T], timeout: float | None) -> Future[T]:
        """Ask through the pipeline; the future gets what the reply is taken for."""
        return self._client.pipeline.ask(ask.request, ask.take, self._seconds(timeout))


def _cancel(pipeline: Pipeline, number: int, then: Callable[[wire.Done], None]) -> None:
    """Ask that a request of this session be not waited for any more."""

    request = wire.Cancel(stand_by=number)

    try:
        pipeline.ask(request, then, START_SECONDS)
    except RegistryClosed:
        # Its place ended with the session.
        return


def pairs(items: Any) -> list[tuple[AnyId, dict[str, Any]]]:
    """What `register_many` was given, as a list. Errors: `TypeError`."""
    listed: list[Any] = (
        list(items) if isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping)) else [items]
    )
    for item in listed:
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise TypeError(f"{item!r}: give pairs of an id and its metadata, such as ('a', {{'capabilities': ['x']}})")
    return listed


def _check_incarnation(value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**64):
        raise ValueError(f"if_incarnation={value!r}: give an entry's incarnation, or None")


def _first_entry(done: wire.Done) -> Entry:
    return done.entries[0]


def _was_there(done: wire.Done) -> bool:
    return done.changed


def _ender(pipeline: Pipeline, entry: Entry, local_members: LocalMembers) -> Callable[[], None]:
    """What ends the entry of a thread or task. It must not keep the registry alive, nor fail where that is closed."""
    request = wire.Unregister(process_id=entry.process_id, if_incarnation=entry.incarnation)

    def ended() -> None:
        try:
            pipeline.ask(request, _was_there, START_SECONDS).add_done_callback(look)
        except RegistryClosed:
            # The entry ended with it.
            local_members.discard(entry.incarnation)

    def look(asked: Future[bool]) -> None:
        # Nobody waits for it and nobody would ask again, so it is asked until it is answered.
        if asked.cancelled() or isinstance(asked.exception(), (NoneType, Stale, RegistryClosed)):
            local_members.discard(entry.incarnation)
            return
        again = threading.Timer(AGAIN_SECONDS, ended)
        again.daemon = True
        again.start()

    return ended


def _reopen(
    kind: type[RegistryWrites], folder: str, namespace: str, node: str, timeout: float | None, limits: Limits
) -> RegistryWrites:
    return kind(path=folder, namespace=namespace, node=node, timeout=timeout, limits=limits)
