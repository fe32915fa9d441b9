"""A process's side of one registry: its reader, which all clients of the same folder share, and its connections."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Protocol

from .._instrument import instrument
from .._os.forking import call_around_fork
from .._os.presence import Presence
from .._store.reader import Reader
from ..model import Limits
from .bell import BellConnection
from .connection_pool import ConnectionPool
from .keeper import Keeper, OnLost
from .pipeline import Pipeline

_readers: dict[str, tuple[Reader, int]] = {}
_released: deque[str] = deque()
_readers_lock = threading.Lock()
call_around_fork(
    before=_readers_lock.acquire, after_in_parent=_readers_lock.release, after_in_child=_readers_lock.release
)


# Every client of this process, open or closed.
clients: weakref.WeakValueDictionary[int, Client] = weakref.WeakValueDictionary()


class Stoppable(Protocol):
    """A watch, which ends with its client."""

    def stop(self) -> None: ...


class Client:
    """Everything a `Registry` needs and must close."""

    def __init__(self, folder: Path, limits: Limits, on_lost: OnLost | None = None) -> None:
        self.folder = folder
        self.limits = limits
        # LMDB must not open the same tables twice in one process, so readers are shared by the real path.
        self.real_path = os.path.realpath(folder)
        self.reader = _acquire_reader(self.real_path, folder)
        self.presence = Presence(folder)
        dialled = _Dialled(self.reader, self.presence)
        self.pool = ConnectionPool(folder, limits, dialled)
        self.pipeline = Pipeline(folder, limits, dialled)
        self.bell = BellConnection(folder, limits, dialled)
        self.keeper = Keeper(folder, on_lost)
        self.watches: weakref.WeakSet[Stoppable] = weakref.WeakSet()
        self.closed = False
        clients[id(self)] = self
        if (report := instrument.client_opened) is not None:
            report()

    def close(self) -> None:
        """End the session and all that depends on it. Waits a moment for the registrar."""
        self.keeper.close()
        self.pipeline.close()
        self.drop()

    def drop(self) -> None:
        """`close` for the garbage collector, which may run inside any other call: it waits for nothing."""
        self.closed = True
        self.keeper.close()
        self.pipeline.stop()
        self.pool.close()
        for watch in list(self.watches):
            watch.stop()
        self.bell.close()
        self.presence.close()
        _released.append(self.real_path)
        _close_unused()


class _Dialled:
    """What follows each new connection to a registrar. Not a method of the client, which would never be freed then."""

    def __init__(self, reader: Reader, presence: Presence) -> None:
        self._reader = reader
        self._presence = presence

    def __call__(self) -> None:
        self._reader.recheck_folder()
        self._presence.show()


def _acquire_reader(real_path: str, folder: Path) -> Reader:
    with _readers_lock:
        reader, users = _readers.get(real_path) or (Reader(folder), 0)
        _readers[real_path] = reader, users + 1
    _close_unused()
    return reader


def _close_unused() -> None:
    """Close the readers without users. The holder of the lock, which may be this very thread, looks once more when it
    releases it."""
    while _released and _readers_lock.acquire(blocking=False):
        try:
            real_path = _released.popleft()
            reader, users = _readers[real_path]
            if users > 1:
                _readers[real_path] = reader, users - 1
            else:
                del _readers[real_path]
                reader.close()
        except IndexError:
            # Another thread was quicker.
            pass
        finally:
            _readers_lock.release()
