"""Fixtures: attached handlers, and a check that tests leave no handler attached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adsum import telemetry
from adsum.telemetry import _dispatch

from .heard import Heard


@pytest.fixture(autouse=True)
def nobody_stays_attached() -> Iterator[None]:
    """Each test begins and ends without attached handlers."""
    assert _dispatch._attached == []
    yield
    for attached in list(_dispatch._attached):
        telemetry.detach(attached.handler)


@pytest.fixture
def heard(nobody_stays_attached: None) -> Heard:
    """A handler that is attached to all events."""
    handler = Heard()
    telemetry.attach(handler)
    return handler


@pytest.fixture
def calls(nobody_stays_attached: None) -> Heard:
    """A handler that is attached to the events of calls."""
    handler = Heard()
    telemetry.attach(handler, [event for event in telemetry.EVENTS if event not in FOLLOWED])
    return handler


FOLLOWED = ("adsum.died", "adsum.registrar.started", "adsum.registrar.stopped")
