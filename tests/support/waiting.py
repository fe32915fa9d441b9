"""Waiting for a condition with a bound. No test sleeps for luck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Far longer than any step takes, also on a busy machine: only a condition that never comes true fails.
WITHIN = 10.0


def eventually(condition: Callable[[], T], within: float = WITHIN, *, every: float = 0.002) -> T:
    """The first true value of `condition`; `AssertionError`, with the last value, if none comes `within` seconds."""
    until = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {within:g} s: {condition!r} is {value!r}")
        time.sleep(every)
    return value


async def eventually_awaited(condition: Callable[[], T], within: float = WITHIN) -> T:
    """`eventually` for a test in an event loop, which keeps running meanwhile."""
    until = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {within:g} s: {condition!r} is {value!r}")
        await asyncio.sleep(0.002)
    return value
