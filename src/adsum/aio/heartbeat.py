"""Heartbeats that an event loop sends by itself, for as long as it goes round."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from .. import _wire as wire
from .._calls import Calls
from .._validation import AsyncMetadataKeywords
from ..errors import NotRegistered, RegistryClosed, Stale
from ..model import Entry

LOOP = "loop"
# The promise that `heartbeat="loop"` makes, and how many heartbeats are sent within it.
LOOP_SECONDS = 1.0
HEARTBEATS = 3


def is_from_loop(metadata: AsyncMetadataKeywords, process: Any = None) -> bool:
    """Whether the event loop is to send the heartbeats. If so, `metadata` promises them in seconds afterwards."""
    if metadata.get("heartbeat") != LOOP:
        return False
    if process is not None and not isinstance(process, asyncio.Task):
        raise ValueError("heartbeat='loop' is this process's event loop's; give seconds for another process")
    metadata["heartbeat"] = LOOP_SECONDS
    return True


class LoopHeartbeat:
    """Sends a heartbeat for `entry` from the loop, until the loop, the registry or the entry ends.

    It keeps the registry open, because the entry has promised heartbeats.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Calls, entry: Entry) -> None:
        self._loop = loop
        self._calls = calls
        # Another one where the registry was lost, and the entry was registered anew.
        self.entry = entry
        self._is_over = False
        calls.keep_current(self)

    def start(self) -> None:
        self._loop.call_later(LOOP_SECONDS / HEARTBEATS, self._send)

    def _send(self) -> None:
        if self._is_over:
            return
        entry = self.entry
        try:
            self._calls.send_heartbeat(entry).add_done_callback(lambda sent: self._answered(entry, sent))
        except RegistryClosed:
            return
        self.start()

    def _answered(self, entry: Entry, sent: Future[wire.Done]) -> None:
        """In the pipeline's thread. A heartbeat that came too late is followed by others; one for no entry by none,
        unless the entry is lost and comes back."""
        if sent.cancelled() or isinstance(sent.exception(), RegistryClosed):
            self._is_over = True
        elif isinstance(sent.exception(), (NotRegistered, Stale)):
            self._is_over = self.entry is entry and not self._calls.may_return(entry)
