"""Following registries: deaths, from their history, and registrars, by the connection to them and by who starts one.

One thread for each registry that is open, while somebody wants what it tells. It waits with an ear to the bell, as a
watch does, and reads the steps of the history itself: it needs them of every namespace, and no snapshot.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

from .._client import client as clients
from .._client.bell import Waiter
from .._client.client import Client
from .._instrument import instrument
from .._os.forking import call_around_fork, call_at_exit
from .._store.feed import Base, Position, TableFeed
from .._store.history import Step
from .._store.reader import Reader
from ..errors import AdsumError
from ..model import Entry, Kind
from ._dispatch import DIED, STARTED, STOPPED, emit, logger, wanted, when_changed

FOLLOWED = frozenset({DIED, STARTED, STOPPED})

# How often to look whether a registry that was never made has been, and to try again what could not be done.
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 1.0
# How long deaths may wait so that many changes are looked at together.
REST_SECONDS = 0.02
# Departures that may come between reading the history and reading how long they took to detect.
SLACK = 16

_following: dict[str, _Following] = {}
_lock = threading.RLock()
_over = threading.Event()


class _Source:
    """Reads through the reader of a client that is open now: a feed outlives the clients of its registry."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def position(self) -> tuple[int, int]:
        return self.reader.position()

    def steps_since(self, epoch: int, revision: int) -> tuple[int, int, list[Step] | None]:
        return self.reader.steps_since(epoch, revision)


class _Following:
    """One registry's follower: a thread, and what others may do to it."""

    def __init__(self, client: Client) -> None:
        self._place = client.real_path
        self._registry = str(client.folder)
        self._starts: deque[float] = deque()
        self._changed = threading.Event()
        # Whoever wakes it may be the garbage collector, in the middle of this.
        self._waiter_lock = threading.RLock()
        self._waiter: Waiter | None = None
        self._complained = False
        self._source = _Source(client.reader)
        self._feed: TableFeed[None] | None = None
        try:
            # What happens from now on, even if the thread takes a while to begin.
            self._read(client.reader)
        except AdsumError:
            # The thread comes upon the same, and says so.
            pass
        self._thread = threading.Thread(target=self._run, name="adsum-telemetry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look whether there is still something to do; safe at any moment."""
        self._changed.set()
        with self._waiter_lock:
            if self._waiter is not None:
                self._waiter.wake()

    def note_start(self, seconds: float) -> None:
        self._starts.append(seconds)
        self.stop()

    def abandon(self) -> None:
        """In a child of `fork`, which has a copy of what the thread held."""
        if self._waiter is not None:
            self._waiter.reset()
            self._waiter.close()

    # The thread

    def _run(self) -> None:
        while (client := self._claim()) is not None:
            try:
                self._follow(client)
                self._complained = False
            except (AdsumError, OSError) as error:
                if not client.closed:
                    self._complain(error)
                    self._changed.wait(AGAIN_SECONDS)

    def _claim(self) -> Client | None:
        """A client of the registry, if one is open and somebody still listens. Else this is over, and whoever comes
        later starts another."""
        with _lock:
            self._changed.clear()
            open_ones = [client for client in _open_clients() if client.real_path == self._place]
            if open_ones and _is_wanted():
                return open_ones[0]
            if _following.get(self._place) is self:
                del _following[self._place]
        self._tell_starts()
        return None

    def _follow(self, client: Client) -> None:
        waiter = Waiter(client.bell)
        self._waiter = waiter
        listened = False
        try:
            while not client.closed and _is_wanted():
                if listened and not waiter.hears:
                    listened = False
                    emit(STOPPED, {"count": 1}, {"registry": self._registry}, BaseException)
                self._tell_starts()
                self._read(client.reader)
                if listened:
                    self._rest()
                    waiter.wait(None)
                elif self._feed is not None and self._feed.position.epoch:
                    waiter.listen()
                    listened = True
                else:
                    # Listening would make the registry.
                    waiter.wait(LOOK_SECONDS)
        finally:
            with self._waiter_lock:
                self._waiter = None
            waiter.close()

    def _rest(self) -> None:
        # Every commit rings the bell. Looking each time would take the interpreter from those who commit.
        if self._changed.wait(REST_SECONDS):
            self._changed.clear()

    def _tell_starts(self) -> None:
        while self._starts:
            emit(STARTED, {"duration": self._starts.popleft()}, {"registry": self._registry}, BaseException)

    def _read(self, reader: Reader) -> None:
        """Read the changes up to the present, and emit an event for each death among them."""
        self._source.reader = reader
        if self._feed is None:
            # From the present on. Where there is no registry yet, every change of it is still to come.
            self._feed = TableFeed(self._source, lambda: Base(Position(*self._source.position()), None))
            return
        before = self._feed.position
        if not self._feed.advance():
            logger.warning(
                "the history of %s does not reach back to revision %s; no event reports deaths since then",
                self._registry,
                before.revision,
                extra={"registry": self._registry, "revision": before.revision},
            )
        steps = []
        while (step := self._feed.take()) is not None:
            steps.append(step)
        if died := [step.before for step in steps if step.kind is Kind.died and step.before is not None]:
            self._tell_died(died, reader, steps)

    def _tell_died(self, died: list[Entry], reader: Reader, steps: list[Step]) -> None:
        departures = reader.departures(min(1000, len(steps) + SLACK))
        detection = {departure.entry.incarnation: departure.detection for departure in departures}
        for entry in died:
            measurements: dict[str, float] = {"count": 1}
            if entry.incarnation in detection:
                measurements["detection"] = detection[entry.incarnation]
            about = {
                "registry": self._registry,
                "namespace": entry.process_id.namespace,
                "type": str(entry.metadata.type),
                "health_status": str(entry.metadata.health_status),
            }
            emit(DIED, measurements, about, BaseException)

    def _complain(self, error: Exception) -> None:
        # Once, until it goes well again.
        if not self._complained:
            self._complained = True
            logger.warning("cannot follow %s, trying on: %s", self._registry, error, extra={"registry": self._registry})


def _is_wanted() -> bool:
    return bool(wanted() & FOLLOWED) and not _over.is_set()


def _open_clients() -> list[Client]:
    known = [reference() for reference in clients.clients.valuerefs()]
    return [client for client in known if client is not None and not client.closed]


def _adjust(wanted: frozenset[str]) -> None:
    instrument.registrar_started = _note_start if STARTED in wanted else None
    instrument.client_opened = _follow_open_ones if wanted & FOLLOWED else None
    with _lock:
        for following in list(_following.values()):
            following.stop()
    if wanted & FOLLOWED:
        _follow_open_ones()


def _follow_open_ones() -> None:
    with _lock:
        for client in _open_clients():
            if client.real_path not in _following:
                following = _Following(client)
                try:
                    following.start()
                except RuntimeError as error:
                    logger.warning("cannot follow %s: %s", client.folder, error, extra={"registry": str(client.folder)})
                else:
                    _following[client.real_path] = following


def _note_start(folder: Path, seconds: float) -> None:
    following = _following.get(os.path.realpath(folder))
    if following is not None:
        following.note_start(seconds)


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    for following in _following.values():
        following.abandon()
    _following.clear()


def _end() -> None:
    # Before whatever it listens to comes to rest for good, which would look like a registrar's end.
    _over.set()


call_at_exit(_end)
call_around_fork(after_in_child=_reset_after_fork)


def be_ready() -> None:
    when_changed(_adjust)
