"""Fixtures: attached handlers, and a check that tests leave no handler attached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adsum import telemetry
from adsum.telemetry import _dispatch

from .event_log import EventLog


@pytest.fixture(autouse=True)
def no_handler_stays_attached() -> Iterator[None]:
    """Each test begins and ends without an attached handler."""
    assert _dispatch._attached == []
    yield
    for attached in list(_dispatch._attached):
        telemetry.detach(attached.handler)


@pytest.fixture
def log(no_handler_stays_attached: None) -> EventLog:
    """A handler that is attached to all events."""
    handler = EventLog()
    telemetry.attach(handler)
    return handler


@pytest.fixture
def calls(no_handler_stays_attached: None) -> EventLog:
    """A handler that is attached to the events of calls."""
    handler = EventLog()
    telemetry.attach(handler, [event for event in telemetry.EVENTS if event not in FOLLOWED])
    return handler


FOLLOWED = ("adsum.died", "adsum.registrar.started", "adsum.registrar.stopped")
