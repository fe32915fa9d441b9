"""A registrar's tenure of its folder: the lock, the socket, the page and the tables are the ones it has.

An exclusive `flock` on the file ``lock`` makes the registrar the only one: the kernel releases it when the process
dies, however it dies. A folder that is removed, or made anew, takes all of these away without an event; a registrar
that finds its tenure over is evicted.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import _wire as wire
from .._os.presence import hold_alone
from .._store.environment import translating
from .._store.page import Page
from .generations import Generations


def lock(folder: Path) -> int | None:
    """The locked descriptor, or None when another registrar has the lock."""
    with translating(folder):
        return hold_alone(folder / "lock")


class Tenure:
    """The tenure of the registrar that holds `locked` and has just put its socket in place."""

    def __init__(self, folder: Path, locked: int, page: Page, generations: Generations) -> None:
        self._lock = folder / "lock"
        self._locked = locked
        self._socket = folder / wire.SOCKET_NAME
        self._socket_file = os.stat(self._socket)
        self._page = page
        self._generations = generations

    def holds(self) -> bool:
        """Whether a client that opens the folder now finds this registrar."""
        try:
            return (
                os.path.samestat(os.stat(self._lock), os.fstat(self._locked))
                and os.path.samestat(os.stat(self._socket), self._socket_file)
                and self._generations.is_in_place()
            )
        except OSError:
            return False

    def release(self, *, evicted: bool, failed: bool) -> None:
        """Before the registrar closes its connections: no client connects to it any more."""
        if not evicted:
            if not failed:
                self._page.leave()
            self._socket.unlink(missing_ok=True)
        elif not self._generations.is_in_place():
            # The files at these paths may be another registrar's by now. Readers still map this page: retired, it makes
            # them open the folder anew.
            self._page.retire()
