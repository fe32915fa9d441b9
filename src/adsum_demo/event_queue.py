"""A watch as a selectable queue, for a program that also waits for sockets."""

from __future__ import annotations

import os
import threading
from collections import deque

import adsum


class EventQueue:
    """The events of a watch, collected by a thread. `fileno` is readable while there are any; `take` never blocks."""

    def __init__(self, watch: adsum.Watch) -> None:
        self._watch = watch
        self._items: deque[adsum.Event | Exception] = deque()
        self._doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._collect, name="event queue", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._doorbell

    def take(self) -> list[adsum.Event]:
        """The events since the last call. Errors: the one that ended the watch."""
        try:
            os.eventfd_read(self._doorbell)
        except BlockingIOError:
            return []
        events = []
        for _ in range(len(self._items)):
            item = self._items.popleft()
            if isinstance(item, Exception):
                raise item
            events.append(item)
        return events

    def close(self) -> None:
        """Close the watch and wait for the thread."""
        self._watch.close()
        self._thread.join()
        os.close(self._doorbell)

    def _collect(self) -> None:
        try:
            for event in self._watch:
                self._put(event)
        except Exception as error:  # noqa: BLE001 - every error is raised in the thread that calls `take`
            self._put(error)

    def _put(self, item: adsum.Event | Exception) -> None:
        self._items.append(item)
        os.eventfd_write(self._doorbell, 1)
