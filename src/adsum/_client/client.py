"""A process's side of one registry: its reader, which all clients of the same folder share, and its connections."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from .._foreign import reraise_foreign
from .._instrument import instrument
from .._os import folder as folders
from .._os.forking import call_around_fork, notice_fork, own
from .._os.locks import holding
from .._os.presence import Presence
from .._store import page as pages
from .._store.reader import Reader
from .bell import BellConnection
from .connection_pool import ConnectionPool
from .exit_reports import ExitReports
from .gauge_writer import GaugeWriter
from .heartbeat_writer import HeartbeatWriter
from .keeper import Keeper, OnLost
from .launch import Launch
from .pipeline import Pipeline
from .writable_board import WritableBoard

if TYPE_CHECKING:
    from .bridge_keeper import BridgeKeeper
    from .cluster import JoinedCluster

R = TypeVar("R")

_readers: dict[str, tuple[Reader, int]] = {}
_released: deque[str] = deque()
# It has an owner, so an interrupted change is known to have ended. `_changing` is the thread that is in one, or 0.
_readers_lock = threading.RLock()
_changing = 0


def _replace_lock() -> None:
    global _readers_lock, _changing
    _readers_lock, _changing = threading.RLock(), 0


call_around_fork(
    before=lambda: _readers_lock.acquire(),
    after_in_parent=lambda: _readers_lock.release(),
    after_in_child=_replace_lock,
)


# Every client of this process, open or closed.
clients: weakref.WeakValueDictionary[int, Client] = weakref.WeakValueDictionary()


class Stoppable(Protocol):
    """A watch, which ends with its client."""

    def stop(self) -> None: ...


class Client:
    """Everything a `Registry` needs and must close."""

    def __init__(self, folder: Path, launch: Launch, on_lost: OnLost | None = None, *, is_named: bool = False) -> None:
        if not own[0]:
            notice_fork()
        self.folder = folder
        # Whether a name chose the folder, and no path.
        self.is_named = is_named
        # LMDB must not open the same tables twice in one process, so readers are shared by the real path.
        self.real_path = folders.real_path(folder)
        self.reader = _acquire_reader(self.real_path, folder)
        self.presence = Presence(folder)
        self.dialled = dialled = _ConnectionHook(folder, self.reader, self.presence)
        self.pool = ConnectionPool(folder, launch, dialled)
        self.pipeline = Pipeline(folder, launch, dialled)
        self.bell = BellConnection(folder, launch, dialled)
        self.keeper = Keeper(folder, on_lost)
        self.board = WritableBoard(folder, self.reader)
        self.gauges = GaugeWriter(self.board)
        self.heartbeats = HeartbeatWriter(self.board)
        self.exit_reports = ExitReports(folder)
        self.watches: weakref.WeakSet[Stoppable] = weakref.WeakSet()
        self.closed = False
        self.bridge: BridgeKeeper | None = None
        self._launch = launch
        clients[id(self)] = self
        if (report := instrument.client_opened) is not None:
            report()

    def hold_lifeline(self) -> None:
        """Show the readers of this registry that this process lives, which registers itself."""
        self.dialled.holds_lifeline = True
        if (mapped := self.reader.open_page) is not None:
            mapped.hold_lifeline(self.folder)

    def keep_bridge(self, wanted: JoinedCluster) -> None:
        """Keep the bridge to the cluster running, from now on. `wanted` is what the program has asked for."""
        from .bridge_keeper import BridgeKeeper  # Most registries are part of no cluster.

        if self.bridge is None:
            self.bridge = self.dialled.bridge = BridgeKeeper(self.folder, self._launch, wanted)
        self.bridge.start()

    def close(self) -> None:
        """End the session and all that depends on it. Waits a moment for the registrar."""
        if not own[0]:
            notice_fork()
        self.keeper.close()
        # First, so that a member which was unregistered while it was being registered anew can be given back.
        self.keeper.join()
        self.pipeline.close()
        self.drop()
        self.exit_reports.join()
        if self.bridge is not None:
            self.bridge.join()

    def drop(self) -> None:
        """`close` for the garbage collector, which may run inside any other call: it waits for nothing."""
        if not own[0]:
            notice_fork()
        self.closed = True
        self.keeper.close()
        self.exit_reports.close()
        if self.bridge is not None:
            self.bridge.close()
        self.pipeline.stop()
        self.pool.close()
        self.board.close()
        for watch in list(self.watches):
            watch.stop()
        self.bell.close()
        self.presence.close()
        _released.append(self.real_path)
        _close_unused()


class _ConnectionHook:
    """What follows each new connection to a registrar. Not a method of the client, which would never be freed then."""

    def __init__(self, folder: Path, reader: Reader, presence: Presence) -> None:
        self._folder = folder
        self._reader = reader
        self._presence = presence
        # The epoch of the registry to which the newest connection leads; 0 where it is not known.
        self.epoch = 0
        # Whether this process registers itself, so that readers need its lifeline.
        self.holds_lifeline = False
        # That of the client, whose thread a fork leaves in the parent.
        self.bridge: BridgeKeeper | None = None

    def __call__(self) -> int:
        if self.bridge is not None:
            self.bridge.start()
        page = pages.readable_in(self._folder)
        self.epoch = epoch = 0 if page is None else page.epoch
        if self.holds_lifeline and page is not None:
            # Before the registration is sent that makes the process a member.
            page.hold_lifeline(self._folder)
        self._reader.recheck_folder()
        self._presence.show()
        return epoch


def _acquire_reader(real_path: str, folder: Path) -> Reader:
    reader = holding(_readers_lock, _change, lambda: _use(real_path, folder))
    _close_unused()
    return reader


def _use(real_path: str, folder: Path) -> Reader:
    reader, users = _readers.get(real_path) or (Reader(folder), 0)
    _readers[real_path] = reader, users + 1
    return reader


def _close_unused() -> None:
    """Close the readers without users. The holder of the lock looks once more when it releases it. That may be this
    very thread, when the garbage collector runs inside a change."""
    while _released and _changing != threading.get_ident():
        try:
            # Inside the `try`, because a signal handler may raise just after the lock is acquired.
            if not _readers_lock.acquire(blocking=False):
                return
            _change(_close_one)
        finally:
            try:
                _readers_lock.release()
            except RuntimeError as error:
                # Another thread holds it.
                reraise_foreign(error)


def _close_one() -> None:
    try:
        real_path = _released.popleft()
    except IndexError as error:
        # Another thread was quicker.
        reraise_foreign(error)
        return
    reader, users = _readers[real_path]
    if users > 1:
        _readers[real_path] = reader, users - 1
    else:
        del _readers[real_path]
        reader.close()


def _change(change: Callable[[], R]) -> R:
    """Make a change of the readers, while this thread holds the lock."""
    global _changing
    try:
        _changing = threading.get_ident()
        return change()
    finally:
        _changing = 0
