"""Notices that a resource has changed, for both eras of the protocol.

- An enveloped client gets them on a stream that it opens with ``subscriptions/listen``, and only the kinds that it
  asked for. The SDK has the streams; they hear what is published on a bus.
- A handshake client gets them in its session: ``list_changed`` in every case, ``updated`` for what it subscribed to.

Neither gets the other's, so each change is published on both ways. All come from one watch of the registry, which is
there while a client listens. Changes are gathered for a moment, and then there is a pause: a client reads again what
has changed, and a hundred changes a second must not make it do that a hundred times.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)

from ..errors import AdsumError, RegistryClosed
from ..model import Event, Kind, ProcessId
from .resources import ALL_AGENTS, uri_of

if TYPE_CHECKING:
    from .. import AsyncRegistry, AsyncWatch

GATHER_SECONDS = 0.05
PAUSE_SECONDS = 0.5
# How long a client that does not read keeps the others waiting.
SEND_SECONDS = 1.0
# How long a registrar is left alone that did not answer.
REDIAL_SECONDS = 5.0
# Resources to which one session may subscribe.
MAX_SUBSCRIPTIONS = 1024

log = logging.getLogger("adsum")


class _Session(NamedTuple):
    """A handshake client, and the resources to which it has subscribed."""

    session: ServerSession
    subscribed: set[str]


class _Bus(InMemorySubscriptionBus):
    """The bus of the SDK's streams, which says when there is a listener."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard
        self.listeners = 0

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        self._heard()
        unsubscribe = super().subscribe(listener)
        self.listeners += 1
        is_subscribed = True

        def end() -> None:
            nonlocal is_subscribed
            if is_subscribed:
                is_subscribed = False
                self.listeners -= 1
                unsubscribe()

        return end


class Notices:
    """Watches the registry while clients listen, and lets them know what changed."""

    def __init__(self, registry: AsyncRegistry) -> None:
        self._registry = registry
        # Before a stream is acknowledged the watch is there, so no change after the acknowledgement is missed.
        self.bus = _Bus(self._begin)
        self._sessions: dict[Connection, _Session] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def is_heard(self) -> bool:
        """Whether a client listens."""
        return bool(self.bus.listeners or self._sessions)

    def add(self, session: ServerSession) -> None:
        """Send notices to a handshake client, until its session ends."""
        self._of(session)

    def subscribe(self, session: ServerSession, uri: str) -> bool:
        """Send it notices of this resource, too. False where it has subscribed to too many."""
        subscribed = self._of(session).subscribed
        if len(subscribed) >= MAX_SUBSCRIPTIONS:
            return False
        subscribed.add(uri)
        return True

    def unsubscribe(self, session: ServerSession, uri: str) -> None:
        self._of(session).subscribed.discard(uri)

    def _of(self, session: ServerSession) -> _Session:
        # The SDK says of a connection's exit stack that handlers push their cleanup there, and gives them no public way
        # to the connection.
        connection = session._connection
        if connection not in self._sessions:
            self._sessions[connection] = _Session(session, set())
            connection.exit_stack.callback(self._sessions.pop, connection, None)
            self._begin()
        return self._sessions[connection]

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(self._registry.watch()))

    async def close(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, watch: AsyncWatch) -> None:
        async with watch:
            # What is known of, so that all of it can be reported where changes were missed.
            known = {entry.process_id for entry in watch.snapshot}
            while self.is_heard:
                changes = _ChangedMembers(known)
                pause = PAUSE_SECONDS
                try:
                    changes.note(await watch.next(), watch)
                    await _gather(watch, changes)
                except RegistryClosed:
                    return
                except AdsumError as error:
                    pause = REDIAL_SECONDS
                    log.warning("adsum mcp: no notices of changes for %g s: %s", pause, error)
                if changes.changed or changes.are_members_changed:
                    await self._publish(changes)
                await asyncio.sleep(pause)

    async def _publish(self, changes: _ChangedMembers) -> None:
        uris = [ALL_AGENTS, *map(uri_of, changes.changed)]
        if changes.are_members_changed:
            await self.bus.publish(ResourcesListChanged())
        for uri in uris:
            await self.bus.publish(ResourceUpdated(uri=uri))
        for session, subscribed in list(self._sessions.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await _send(session, subscribed.intersection(uris), list_changed=changes.are_members_changed)


async def _send(session: ServerSession, uris: Iterable[str], *, list_changed: bool) -> None:
    if list_changed:
        await session.send_resource_list_changed()
    for uri in uris:
        await session.send_resource_updated(uri)


class _ChangedMembers:
    """The members that changed in one round. `known` are those that there are, as far as the events said."""

    def __init__(self, known: set[ProcessId]) -> None:
        self._known = known
        self.changed: set[ProcessId] = set()
        self.are_members_changed = False

    def note(self, event: Event, watch: AsyncWatch) -> None:
        if event.entry is None:
            self._note_many(event, watch)
            return
        process_id = event.entry.process_id
        self.changed.add(process_id)
        if event.kind is Kind.updated:
            return
        self.are_members_changed = True
        if event.kind is Kind.registered:
            self._known.add(process_id)
        else:
            self._known.discard(process_id)

    def _note_many(self, event: Event, watch: AsyncWatch) -> None:
        """Changes were missed, or a whole host of a cluster is out of reach, or back."""
        self.are_members_changed = True
        self.changed |= self._known
        if event.kind is Kind.lagged:
            self._known.clear()
            self._known |= {entry.process_id for entry in watch.snapshot}
            self.changed |= self._known


async def _gather(watch: AsyncWatch, changes: _ChangedMembers) -> None:
    """Note what else happens within a moment. A cancelled wait for an event loses none."""
    try:
        async with asyncio.timeout(GATHER_SECONDS):
            while True:
                changes.note(await watch.next(), watch)
    except TimeoutError as error:
        if isinstance(error, AdsumError):
            raise
