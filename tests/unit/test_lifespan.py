"""The task that reports the health of a web application ends when the application does, whatever that awaits."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import pytest

from adsum.asgi.lifespan import _end, _Reporter

# So many turns of the event loop a report takes at most.
TURNS = 12
AT_ONCE = 10.0


class Silent:
    """A registration that takes every report at once."""

    process_id = "default/n/api"

    async def update(self, **_: Any) -> None: ...

    async def update_health(self, _status: object) -> None: ...


async def ready_at_once() -> bool:
    return True


async def ends(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(AT_ONCE):
        await _end(task)
    assert task.cancelled()


def test_a_report_can_be_cancelled_at_each_turn() -> None:
    """Also at the turn at which the application answers: `asyncio.wait_for` swallows such a cancellation before Python
    3.12."""

    async def cancelled_at(turn: int) -> None:
        reporter = _Reporter(ready_at_once, 60, "http", 0.0)
        registration: Any = Silent()
        task = asyncio.create_task(reporter.run(registration, []))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
        assert task.done(), f"it goes on after a cancellation at turn {turn}"
        await ends(task)

    for turn in range(TURNS):
        asyncio.run(cancelled_at(turn))


def test_an_application_that_swallows_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lifespan ends even where the application's health check suppresses its cancellation."""
    monkeypatch.setattr(sys.modules[_end.__module__], "_CANCEL_SECONDS", 0.05)
    swallowed: list[int] = []

    async def stubborn() -> bool:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        swallowed.append(1)
        return True

    async def run() -> None:
        reporter = _Reporter(stubborn, 3600, "http", 0.0)
        registration: Any = Silent()
        task = asyncio.create_task(reporter.run(registration, []))
        await asyncio.sleep(0.01)
        await ends(task)

    asyncio.run(run())
    assert swallowed
