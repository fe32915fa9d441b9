"""Heartbeats of this process's members: words of shared memory, and no request to any process (see
`adsum._heartbeat`)."""

from __future__ import annotations

import os
import time

from .._os import identity
from .._store.promises import Promise
from ..errors import AdsumError
from ..model import Owner
from .writable_board import WritableBoard

_NO_PROCESS = Owner(0, 0, 0)


class HeartbeatWriter:
    """Leaves heartbeats for the members that this process owns."""

    def __init__(self, board: WritableBoard) -> None:
        self._board = board
        self._reader = board.reader
        # The process that the board is known to have the clock of.
        self._owner = _NO_PROCESS

    def leave(self, process_id: tuple[str, str, str], incarnation: int | None) -> tuple[Promise, int, int] | None:
        """Leave a heartbeat for a member. Returns its promise with the times of a `Heartbeat`; None where a request has
        to bring it: for a member that is late, has promised none, has no row, or is not what the caller takes it
        for."""
        cached = self._reader.cached(process_id)
        if cached is None or (promise := cached.promise) is None:
            return None
        rows = self._board.rows
        # The number, because the folder may be another one by now; the pid, because a fork may go unnoticed.
        if (
            rows.number != promise.board_number
            or rows.in_use[0] != rows.number
            or promise.at >= rows.ready
            or os.getpid() != self._owner.pid
        ):
            if not self._attach():
                return None
            rows = self._board.rows
            if rows.number != promise.board_number:
                # Another one was made at this moment.
                return None
        if cached.owner != self._owner or (incarnation is not None and cached.entry.incarnation != incarnation):
            return None
        # Never before an earlier one, whatever the wall clock does.
        at, monotonic, wall = promise.at, time.monotonic_ns(), max(promise.wall, time.time_ns() // 1000)
        left = at < rows.ready and rows.leave_heartbeat(at, promise.key, monotonic, wall)
        return (promise, monotonic, wall) if left else None

    def is_over(self, process_id: tuple[str, str, str], incarnation: int) -> bool:
        """Whether the promise of an entry was taken back, so that no heartbeat is to be sent."""
        cached = self._reader.cached(process_id)
        return cached is not None and cached.entry.incarnation == incarnation and cached.promise is None

    def _attach(self) -> bool:
        """Map the board that is in use now. Whether its times are of the clock of this process."""
        self._owner = _NO_PROCESS
        try:
            self._board.attach()
        except AdsumError:
            # The request says why, if that matters to it.
            return False
        if not self._board.has_clock_of_this_process:
            return False
        self._owner = identity.current()
        return True
