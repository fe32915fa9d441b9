"""The telemetry events that no call of this process causes: deaths, and the start and end of registrars.

While a handler wants one of these events, a thread follows each registry that this process has open. It waits for the
bell as a watch does, and reads deaths from a change feed over all namespaces. The end of a registrar is the end of the
connection that brought its bell; its start is reported by the code of this process that started it.
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
from .._os.forking import call_around_fork
from .._os.locks import holding, locked
from .._store.feed import Base, TableFeed
from .._store.history import Step
from .._store.layout import MAX_DEPARTURES
from .._store.reader import OwnChanges, Reader
from ..errors import AdsumError
from ..model import Entry, Kind
from ._dispatch import DIED, STARTED, STOPPED, emit, logger, wanted, when_changed

FOLLOWED = frozenset({DIED, STARTED, STOPPED})

# How often it checks whether a registry that does not exist yet has been created.
CREATION_CHECK_SECONDS = 0.5
# How long it waits after an error before it tries again.
RETRY_SECONDS = 1.0
# How long a death may wait, so that one read covers many changes.
BATCH_SECONDS = 0.02
# Departures that may be added between the read of the changes and the read of the departures.
EXTRA_DEPARTURES = 16

# By the real path of the folder.
_followers: dict[str, _RegistryFollower] = {}
_lock = threading.RLock()


class _RegistryFollower:
    """Follows one registry in a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._real_path = client.real_path
        self._registry = str(client.folder)
        # Durations of registrar starts that no event has reported yet.
        self._starts: deque[float] = deque()
        self._woken = threading.Event()
        # A finalizer may call `wake` in a thread that holds it.
        self._lock = threading.RLock()
        self._waiter: Waiter | None = None
        self._error_logged = False
        self._reader = client.reader
        self._feed: TableFeed[None] | None = None
        try:
            # The feed starts here, not when the thread runs: a death in between is reported.
            self._read(client.reader)
        except AdsumError:
            # The thread meets the same error, and logs it.
            pass
        self._thread = threading.Thread(target=self._run, name="adsum-telemetry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have the thread check whether a handler and a client still need it. Safe at any moment."""
        self._woken.set()
        self._wake_waiter()

    @locked
    def _wake_waiter(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()

    @locked
    def _forget_waiter(self) -> None:
        self._waiter = None

    def note_start(self, seconds: float) -> None:
        """This process started a registrar, in so many seconds."""
        self._starts.append(seconds)
        self.wake()

    def abandon(self) -> None:
        """In a child of `fork`: close the copies of the descriptors that the thread uses in the parent."""
        if self._waiter is not None:
            self._waiter.reset()
            self._waiter.close()

    # The thread

    def _run(self) -> None:
        while (client := self._open_client()) is not None:
            try:
                self._follow(client)
                self._error_logged = False
            except (AdsumError, OSError) as error:
                if not client.closed:
                    self._log_once(error)
                    self._woken.wait(RETRY_SECONDS)

    def _open_client(self) -> Client | None:
        """An open client of the registry, if a handler still wants its events. Else None, and this follower is removed:
        a client that opens later gets another."""
        # One lock for the check and the removal, or a client that opens in between would get no follower.
        client = holding(_lock, self._client_or_removal)
        if client is None:
            self._report_starts()
        return client

    def _client_or_removal(self) -> Client | None:
        self._woken.clear()
        found = [client for client in _open_clients() if client.real_path == self._real_path]
        if found and _is_wanted():
            return found[0]
        if _followers.get(self._real_path) is self:
            del _followers[self._real_path]
        return None

    def _follow(self, client: Client) -> None:
        waiter = Waiter(client.bell, client.reader.registry_exists)
        self._waiter = waiter
        connected = False
        try:
            while not client.closed and _is_wanted():
                if connected and not waiter.is_connected:
                    connected = False
                    emit(STOPPED, {"count": 1}, {"registry": self._registry}, BaseException)
                self._report_starts()
                self._read(client.reader)
                if connected:
                    self._pause()
                    waiter.wait(None)
                elif self._feed is not None and self._feed.position.epoch:
                    waiter.listen()
                    connected = True
                else:
                    # To listen would create the registry.
                    waiter.wait(CREATION_CHECK_SECONDS)
        finally:
            self._forget_waiter()
            waiter.close()

    def _pause(self) -> None:
        # Every commit rings the bell. A read after each would take the interpreter from the threads that commit.
        if self._woken.wait(BATCH_SECONDS):
            self._woken.clear()

    def _report_starts(self) -> None:
        while self._starts:
            emit(STARTED, {"duration": self._starts.popleft()}, {"registry": self._registry}, BaseException)

    def _read(self, reader: Reader) -> None:
        """Read the changes up to the present, and emit an event for each death among them."""
        # The feed outlives this client: another one of the same registry may be open when it closes.
        self._reader = reader
        if self._feed is None:
            # From the present on. Where there is no registry yet, every change of it is still to come.
            self._feed = TableFeed(lambda: OwnChanges(self._reader), lambda _: Base(self._reader.position(), None))
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
        ended = [step.before for step in steps if step.kind is Kind.died and step.before is not None]
        if ended:
            self._report_deaths(ended, reader, steps)

    def _report_deaths(self, died: list[Entry], reader: Reader, steps: list[Step]) -> None:
        departures = reader.reports.departures(min(MAX_DEPARTURES, len(steps) + EXTRA_DEPARTURES), here=True)
        detection = {departure.entry.incarnation: departure.detection for departure in departures}
        for entry in died:
            measurements: dict[str, float] = {"count": 1}
            if detection.get(entry.incarnation):
                measurements["detection"] = detection[entry.incarnation]
            about = {
                "registry": self._registry,
                "namespace": entry.process_id.namespace,
                "type": str(entry.metadata.type),
                "health_status": str(entry.metadata.health_status),
            }
            emit(DIED, measurements, about, BaseException)

    def _log_once(self, error: Exception) -> None:
        """Log an error, unless the attempt before this one failed too."""
        if not self._error_logged:
            self._error_logged = True
            logger.warning(
                "cannot follow %s, will try again: %s", self._registry, error, extra={"registry": self._registry}
            )


def _is_wanted() -> bool:
    """Whether a handler wants an event of a follower."""
    return bool(wanted() & FOLLOWED)


def _open_clients() -> list[Client]:
    known = [reference() for reference in clients.clients.valuerefs()]
    return [client for client in known if client is not None and not client.closed]


def _adjust(wanted: frozenset[str]) -> None:
    instrument.registrar_started = _note_start if STARTED in wanted else None
    instrument.client_opened = _follow_open_registries if wanted & FOLLOWED else None
    holding(_lock, _wake_all)
    if wanted & FOLLOWED:
        _follow_open_registries()


def _wake_all() -> None:
    for follower in list(_followers.values()):
        follower.wake()


def _follow_open_registries() -> None:
    """Start a follower for each open registry that has none."""
    holding(_lock, _start_followers)


def _start_followers() -> None:
    for client in _open_clients():
        if client.real_path not in _followers:
            follower = _RegistryFollower(client)
            try:
                follower.start()
            except RuntimeError as error:
                logger.warning("cannot follow %s: %s", client.folder, error, extra={"registry": str(client.folder)})
            else:
                _followers[client.real_path] = follower


def _note_start(folder: Path, seconds: float) -> None:
    follower = _followers.get(os.path.realpath(folder))
    if follower is not None:
        follower.note_start(seconds)


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    for follower in _followers.values():
        follower.abandon()
    _followers.clear()


call_around_fork(after_in_child=_reset_after_fork)


def be_ready() -> None:
    """Start and stop followers as handlers are attached and detached."""
    when_changed(_adjust)
