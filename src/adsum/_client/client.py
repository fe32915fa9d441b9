"""A process's side of one registry: its reader, shared by all who open the same folder, and its ways to ask."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .._store.reader import Reader
from ..model import Limits
from .bell import Bell
from .connection_pool import ConnectionPool
from .pipeline import Pipeline

_readers: dict[str, tuple[Reader, int]] = {}
_released: deque[str] = deque()
_readers_lock = threading.Lock()
os.register_at_fork(
    before=_readers_lock.acquire, after_in_parent=_readers_lock.release, after_in_child=_readers_lock.release
)


# Those that may be open, and who is told of each new one: `adsum.telemetry`, while it follows registries.
clients: weakref.WeakValueDictionary[int, Client] = weakref.WeakValueDictionary()
opened: Callable[[], None] | None = None


class Stoppable(Protocol):
    """A watch, which ends with what it was opened on."""

    def stop(self) -> None: ...


class Client:
    """Everything a `Registry` needs and must close."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits
        # LMDB must not be opened twice in one process, by whatever path.
        self.place = os.path.realpath(folder)
        self.reader = _acquire_reader(self.place, folder)
        self.pool = ConnectionPool(folder, limits, self.reader.recheck_folder)
        self.pipeline = Pipeline(folder, limits, self.reader.recheck_folder)
        self.bell = Bell(folder, limits, self.reader.recheck_folder)
        self.watches: weakref.WeakSet[Stoppable] = weakref.WeakSet()
        self.closed = False
        clients[id(self)] = self
        if opened is not None:
            opened()

    def close(self) -> None:
        self.pipeline.close()
        self.drop()

    def drop(self) -> None:
        """`close` for the garbage collector, which may come in the middle of anything: it waits for nobody."""
        self.closed = True
        self.pipeline.stop()
        self.pool.close()
        for watch in list(self.watches):
            watch.stop()
        self.bell.close()
        _released.append(self.place)
        _settle()


def _acquire_reader(place: str, folder: Path) -> Reader:
    with _readers_lock:
        reader, users = _readers.get(place) or (Reader(folder), 0)
        _readers[place] = reader, users + 1
    _settle()
    return reader


def _settle() -> None:
    """Close the readers that nobody uses any more. Whoever has the lock, perhaps this very thread, looks again."""
    while _released and _readers_lock.acquire(blocking=False):
        try:
            place = _released.popleft()
            reader, users = _readers[place]
            if users > 1:
                _readers[place] = reader, users - 1
            else:
                del _readers[place]
                reader.close()
        except IndexError:
            # Another thread was quicker.
            pass
        finally:
            _readers_lock.release()
