"""A process's side of one registry: its reader, shared by all who open the same folder, and its ways to ask."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .._store.reader import Reader
from ..model import Limits
from .line import Lines
from .pipeline import Pipeline

_readers: dict[str, tuple[Reader, int]] = {}
_readers_lock = threading.Lock()
os.register_at_fork(
    before=_readers_lock.acquire, after_in_parent=_readers_lock.release, after_in_child=_readers_lock.release
)


class Client:
    """Everything a `Registry` needs and must close."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits
        self.reader = _acquire_reader(folder)
        self.lines = Lines(folder, limits, self.reader.look_again)
        self.pipeline = Pipeline(folder, limits, self.reader.look_again)

    def close(self) -> None:
        self.pipeline.close()
        self.lines.close()
        _release_reader(self.folder)


def _acquire_reader(folder: Path) -> Reader:
    # LMDB must not be opened twice in one process, by whatever path.
    place = os.path.realpath(folder)
    with _readers_lock:
        reader, users = _readers.get(place) or (Reader(folder), 0)
        _readers[place] = reader, users + 1
        return reader


def _release_reader(folder: Path) -> None:
    place = os.path.realpath(folder)
    with _readers_lock:
        reader, users = _readers[place]
        if users > 1:
            _readers[place] = reader, users - 1
        else:
            del _readers[place]
            reader.close()
