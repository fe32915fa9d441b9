"""Calls under way: given up by their client, or cut off by the end of the server."""

from __future__ import annotations

import asyncio

import pytest

from adsum.mcp.answers import Document
from adsum.mcp.calls import CallsUnderWay
from adsum.mcp.failures import ToolError


class Slot:
    """A call that gets something when it is allowed to, and what was given back of it."""

    def __init__(self) -> None:
        self.is_free = asyncio.Event()
        self.given_back: list[Document] = []
        self.was_cancelled = False

    async def take(self) -> Document:
        try:
            await self.is_free.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return {"claim": "1"}

    async def give_back(self, got: Document) -> None:
        self.given_back.append(got)


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("steps", range(6))
async def test_what_a_client_does_not_get_is_given_back(steps: int) -> None:
    """Whenever a client gives a call up, also at the very moment at which the call is done, the call is cancelled or
    what it got is given back, or the client has it."""
    slot = Slot()
    calls = CallsUnderWay()
    request = asyncio.create_task(calls.run(slot.take(), slot.give_back))
    await _steps(3)
    slot.is_free.set()
    await _steps(steps)
    request.cancel()
    await asyncio.wait([request])
    if request.cancelled():
        assert slot.was_cancelled or slot.given_back == [{"claim": "1"}]
    else:
        assert request.result() == {"claim": "1"}
        assert slot.given_back == []


async def test_a_given_up_call_that_waits() -> None:
    """A call that waits is cancelled when its client gives it up."""
    slot = Slot()
    request = asyncio.create_task(CallsUnderWay().run(slot.take(), slot.give_back))
    await _steps(3)
    request.cancel()
    await asyncio.wait([request])
    assert request.cancelled()
    assert slot.was_cancelled


async def test_the_end_of_the_server_is_an_answer() -> None:
    """When the server ends, calls that wait are answered so, and later ones too."""
    slot = Slot()
    calls = CallsUnderWay()
    request = asyncio.create_task(calls.run(slot.take(), slot.give_back))
    await _steps(3)
    await calls.close()
    with pytest.raises(ToolError, match="the server ends"):
        await request
    assert slot.was_cancelled
    with pytest.raises(ToolError, match="the server ends"):
        await calls.run(slot.take(), None)
