"""A handler that keeps its events."""

from __future__ import annotations

import threading
from typing import NamedTuple

from adsum.telemetry import Attributes, Measurements
from tests.support import eventually


class Told(NamedTuple):
    event: str
    measurements: Measurements
    attributes: Attributes
    thread: threading.Thread


class Heard:
    """A handler that records its events in order."""

    def __init__(self) -> None:
        self.all: list[Told] = []

    def __call__(self, event: str, measurements: Measurements, attributes: Attributes) -> None:
        self.all.append(Told(event, measurements, attributes, threading.current_thread()))

    def of(self, *events: str, **attributes: str) -> list[Told]:
        """The recorded events of these names, with these attributes."""
        wanted = attributes.items()
        return [told for told in self.all if told.event in events and wanted <= told.attributes.items()]

    def one(self, event: str, **attributes: str) -> Told:
        """The only such event. Waits for it, because another thread may emit it a moment later."""
        found = eventually(lambda: self.of(event, **attributes))
        assert len(found) == 1, found
        return found[0]

    @property
    def events(self) -> list[str]:
        return [told.event for told in self.all]
