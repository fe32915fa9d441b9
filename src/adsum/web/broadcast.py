"""One change feed for all pages of an application: what the mirror learns goes to topics, and from them to streams.

A **topic** is what pages with the same address follow: members with one filter, events, departures, one member. It
renders what changed once, however many pages are open. A **subscription** is one browser's stream of some topics.

The broadcaster reads shared memory every few milliseconds while there are subscriptions, and does nothing while there
is none. It sends no request, so it starts no registrar and goes on while one is stopped. It belongs to the event loop
in which the first subscription is made, and runs as a task there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar

from .. import ALL, Registry
from ..errors import AdsumError
from ..model import Entry, ProcessId, Revision
from ..views.mirror import Mirror, Scope
from ..views.recent import Step

logger = logging.getLogger("adsum.web")

# How often shared memory is looked at for a change: as cheap as a few microseconds.
POLL_SECONDS = 0.01
# How often the living are asked for: deaths that no registrar removes, gauges and heartbeats, which are no changes.
SWEEP_SECONDS = 1.0
# A browser that has so many messages in front of it loads its page anew.
MAX_WAITING = 256

T = TypeVar("T", bound="Topic")


class Topic(Protocol):
    """What pages with the same address follow."""

    # All changes up to here are in the messages that were taken.
    sent: Revision

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        """Changes happened, up to `revision`."""
        ...

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        """These members live now, as they are at this moment; those in `gone` are stored, and dead."""
        ...

    def take(self, now: float) -> bytes | None:
        """The next message, if one is due: the lines of an event of a stream (server-sent events), without its name and
        id."""
        ...

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        """The message for one page that has not seen these changes, while others have."""
        ...


class Subscription:
    """One browser's messages. `wait` gives them; `None` at the end."""

    def __init__(self, topics: dict[str, Topic]) -> None:
        self.topics = topics
        self.is_lagging = False
        self._waiting: list[bytes] = []
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, message: bytes) -> None:
        """Add a message; where the browser takes none, it has to begin anew."""
        if len(self._waiting) >= MAX_WAITING:
            self.is_lagging = True
            self._waiting.clear()
        if not self.is_lagging:
            self._waiting.append(message)
        self._wake.set()

    def lag(self) -> None:
        """The browser has to begin anew: changes were missed."""
        self.is_lagging = True
        self._waiting.clear()
        self._wake.set()

    def end(self) -> None:
        """Nothing will follow."""
        self._ended = True
        self._wake.set()

    async def wait(self, seconds: float) -> list[bytes] | None:
        """The messages since the last call, none after so many seconds; None at the end."""
        if not self._waiting and not self._ended and not self.is_lagging:
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return []
        taken, self._waiting = self._waiting, []
        return None if self._ended and not taken else taken

    @property
    def position(self) -> Revision:
        """Everything up to here is in the messages of every topic."""
        return min(topic.sent for topic in self.topics.values())


class Broadcaster:
    """The one follower of a registry's changes for all pages."""

    def __init__(self, registry: Registry, scope: Scope) -> None:
        self.registry = registry
        self.scope = scope
        self._mirror: Mirror | None = None
        self._topics: dict[Hashable, Topic] = {}
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._swept_at = 0.0
        self._is_closed = False

    @property
    def mirror(self) -> Mirror:
        """The live copy of all entries."""
        if self._mirror is None:
            self._mirror = Mirror(self.registry, self.scope)
        return self._mirror

    def catch_up(self) -> Revision:
        """Take all changes until now, and return the revision that is reached. What is read from the registry after
        this is at least as new, so a page that was made of it misses nothing if it follows from here."""
        mirror = self.mirror
        followed = mirror.advance()
        if followed.is_new:
            self._begin_anew()
        else:
            for topic in self._topics.values():
                topic.note(followed.changes, mirror.revision)
        return mirror.revision

    def living(self) -> list[Entry]:
        """The living entries in the scope, as they are now, sorted by id."""
        return living(self.registry, self.scope)

    def topic(self, key: Hashable, make: Callable[[], T]) -> T:
        """The topic with this key; `make` makes it where it has no subscription yet."""
        # A key is of one class of topics.
        return self._topics.get(key) or make()  # type: ignore[return-value]

    def subscribe(self, topics: dict[str, tuple[Hashable, Topic]]) -> Subscription:
        """Have the messages of some topics, each under a name, from now on. Ends with `unsubscribe`."""
        for key, topic in topics.values():
            self._topics[key] = topic
        subscription = Subscription({name: topic for name, (_, topic) in topics.items()})
        self._subscriptions.add(subscription)
        if self._is_closed:
            subscription.end()
        elif self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription, and the topics that no other one has."""
        self._subscriptions.discard(subscription)
        used = {id(topic) for one in self._subscriptions for topic in one.topics.values()}
        self._topics = {key: topic for key, topic in self._topics.items() if id(topic) in used}

    def close(self) -> None:
        """End every stream, now and from now on: the server is about to stop."""
        self._is_closed = True
        self._end_all()

    def _end_all(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.end()

    def _begin_anew(self) -> None:
        """Changes were missed: each page loads itself again, and asks for new topics."""
        self._topics.clear()
        for subscription in list(self._subscriptions):
            subscription.lag()

    async def _run(self) -> None:
        try:
            while self._subscriptions:
                now = time.monotonic()
                self.catch_up()
                if now - self._swept_at >= SWEEP_SECONDS:
                    self._swept_at = now
                    self._sweep()
                self._publish(now)
                await asyncio.sleep(POLL_SECONDS)
        except AdsumError as error:
            # The registry was closed, or cannot be read any more.
            logger.warning("pages of %s are not kept current: %s", self.registry.folder, error)
            self._mirror = None
        finally:
            # Whatever the reason: a browser connects again, and learns what is wrong.
            self._end_all()

    def _sweep(self) -> None:
        found = {entry.process_id: entry for entry in self.living()}
        gone = self.mirror.entries.keys() - found.keys()
        for topic in self._topics.values():
            topic.sweep(found, gone)

    def _publish(self, now: float) -> None:
        taken: dict[int, bytes | None] = {}
        for topic in self._topics.values():
            taken[id(topic)] = topic.take(now)
        for subscription in self._subscriptions:
            for name, topic in subscription.topics.items():
                if (message := taken.get(id(topic))) is not None:
                    subscription.put(framed(name, subscription.position, message))


def framed(name: str, position: Revision, message: bytes) -> bytes:
    """One event of a stream. Its id is the position from which the browser goes on when it connects again."""
    head = f"event: {name}\nid: {position_text(position)}\n" if name else ""
    return head.encode() + message


def position_text(position: Revision) -> str:
    """A position as the id of an event: ``EPOCH.REVISION``."""
    return f"{position.epoch}.{int(position)}"


def living(registry: Registry, scope: Scope) -> list[Entry]:
    """The living entries of a registry in a scope, as they are now, sorted by id."""
    return registry.find(namespace=ALL if scope.namespace is None else scope.namespace, node=scope.node)
