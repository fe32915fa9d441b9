"""Awaiting the reply to a write; and undoing a registration whose await was cancelled, because no caller holds it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import Any

from .. import _wire as wire
from .._calls import Calls, Write, whole
from .._other_location import name_other_location
from ..errors import NotRegistered


async def answered(calls: Calls, write: Write[Any], timeout: float | None) -> wire.Done:
    """Send a write and await its reply. If the await is cancelled, the write may have been applied, or not."""
    try:
        return await asyncio.wrap_future(calls.submit(write, timeout, whole))
    except NotRegistered as error:
        name_other_location(error, calls._client)
        raise


async def registered(calls: Calls, write: Write[wire.Register], timeout: float | None) -> wire.Done:
    """Send a registration and await its reply. If the await is cancelled, the registration is undone."""
    pending = calls.submit(write, timeout, whole)
    try:
        # Shielded: a registration in flight cannot be cancelled, only undone.
        return await asyncio.shield(asyncio.wrap_future(pending))
    except asyncio.CancelledError:
        pending.add_done_callback(partial(_undo, calls))
        raise


async def granted(calls: Calls, pending: Future[wire.Done]) -> wire.Done:
    """Await the grant to a standby. If the await is cancelled, so is the standby; a grant that came first is undone."""
    try:
        return await asyncio.wrap_future(pending)
    except asyncio.CancelledError:
        pending.add_done_callback(partial(_undo, calls))
        raise


def _undo(calls: Calls, pending: Future[wire.Done]) -> None:
    if pending.cancelled() or pending.exception() is not None or not pending.result().changed:
        return
    for entry in pending.result().entries:
        calls.give_back(entry)
