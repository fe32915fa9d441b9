"""Heartbeats that an event loop sends by itself, for as long as it goes round."""

from __future__ import annotations

import asyncio
from typing import Any

from .._calls import Calls
from .._client.member_heartbeat import HEARTBEATS, SECONDS, MemberHeartbeat
from .._validation import AsyncMetadataKeywords
from ..model import Entry

LOOP = "loop"


def is_from_loop(metadata: AsyncMetadataKeywords, process: Any = None) -> bool:
    """Whether the event loop is to send the heartbeats. If so, `metadata` promises them in seconds afterwards."""
    if metadata.get("heartbeat") != LOOP:
        return False
    if process is not None and not isinstance(process, asyncio.Task):
        raise ValueError("heartbeat='loop' is this process's event loop's; give seconds for another process")
    metadata["heartbeat"] = SECONDS
    return True


class LoopHeartbeat(MemberHeartbeat):
    """Sends a heartbeat for `entry` from the loop, until the loop, the registry or the entry ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Calls, entry: Entry) -> None:
        super().__init__(calls, entry)
        self._loop = loop

    def start(self) -> None:
        self._loop.call_later(SECONDS / HEARTBEATS, self._beat)

    def _beat(self) -> None:
        if not self.is_over:
            self.send()
        if not self.is_over:
            self.start()
