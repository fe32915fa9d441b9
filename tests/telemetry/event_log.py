"""A handler that keeps the events it gets."""

from __future__ import annotations

import threading
from typing import NamedTuple

from adsum.telemetry import Attributes, Measurements
from tests.support import eventually


class LoggedEvent(NamedTuple):
    """An event, and the thread that called the handler."""

    event: str
    measurements: Measurements
    attributes: Attributes
    thread: threading.Thread


class EventLog:
    """A handler for `adsum.telemetry.attach`; `all` has its events in order."""

    def __init__(self) -> None:
        self.all: list[LoggedEvent] = []

    def __call__(self, event: str, measurements: Measurements, attributes: Attributes) -> None:
        self.all.append(LoggedEvent(event, measurements, attributes, threading.current_thread()))

    def of(self, *events: str, **attributes: str) -> list[LoggedEvent]:
        """The events of these names with these attributes."""
        wanted = attributes.items()
        return [logged for logged in self.all if logged.event in events and wanted <= logged.attributes.items()]

    def one(self, event: str, **attributes: str) -> LoggedEvent:
        """The only such event. Waits for it, because another thread may call the handler a moment later."""
        found = eventually(lambda: self.of(event, **attributes))
        assert len(found) == 1, found
        return found[0]

    @property
    def events(self) -> list[str]:
        """The names of all events, in order."""
        return [logged.event for logged in self.all]
