"""Signs of life that an event loop gives by itself: it gives them as long as it goes round."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .._client.pipeline import Pipeline
from .._writes import Ask
from ..errors import NotRegistered, RegistryClosed, Stale
from ..model import Entry

LOOP = "loop"
LOOP_SECONDS = 1.0
SIGNS = 3


def is_from_loop(metadata: dict[str, Any], process: Any = None) -> bool:
    """Whether the event loop is to give the signs. If so, `metadata` promises them in seconds afterwards."""
    if metadata.get("heartbeat") != LOOP:
        return False
    if process is not None and not isinstance(process, asyncio.Task):
        raise ValueError("heartbeat='loop' is this process's event loop's; give seconds for another process")
    metadata["heartbeat"] = LOOP_SECONDS
    return True


def beat(loop: asyncio.AbstractEventLoop, pipeline: Pipeline, make_ask: Callable[[], Ask[Entry]]) -> None:
    """Give a sign of life now and again, from the loop, for as long as the loop, the registry and the entry are."""

    def look(given: Future[Entry]) -> None:
        # In the pipeline's thread. A sign that came too late is followed by others; one for no entry by none.
        if given.cancelled() or isinstance(given.exception(), (NotRegistered, Stale, RegistryClosed)):
            over.set()

    def sign() -> None:
        if over.is_set():
            return
        try:
            ask = make_ask()
            pipeline.ask(ask.request, ask.take, None).add_done_callback(look)
        except RegistryClosed:
            return
        loop.call_later(LOOP_SECONDS / SIGNS, sign)

    over = threading.Event()
    loop.call_later(LOOP_SECONDS / SIGNS, sign)
