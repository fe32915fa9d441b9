"""The registry's news for somebody who also waits for other things: a watch with a descriptor to select on."""

from __future__ import annotations

import os
import threading
from collections import deque

import adsum


class News:
    """The events of a watch. A thread waits for them; `fileno` is readable when there are some, `take` never waits."""

    def __init__(self, watch: adsum.Watch) -> None:
        self._watch = watch
        self._come: deque[adsum.Event | Exception] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._listen, name="news", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._wake

    def take(self) -> list[adsum.Event]:
        """What happened since the last time. Errors: whatever ended the watch."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        events = []
        for _ in range(len(self._come)):
            one = self._come.popleft()
            if isinstance(one, Exception):
                raise one
            events.append(one)
        return events

    def close(self) -> None:
        self._watch.close()
        self._thread.join()
        os.close(self._wake)

    def _listen(self) -> None:
        try:
            for event in self._watch:
                self._tell(event)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever takes
            self._tell(error)

    def _tell(self, one: adsum.Event | Exception) -> None:
        self._come.append(one)
        os.eventfd_write(self._wake, 1)
