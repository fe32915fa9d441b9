"""Drops: connections that ended although a call on them had no reply yet.

A registrar that is killed, or leaves, ends its connections, and the next one gets the same requests. One that lives on
and ends the connection at the same request again would do so for ever. So the kernel is asked which process was at the
other end: the second drop of a call by one and the same registrar fails the call, and there is a pause before it.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import RegistrarUnavailable
from .connection import Connection

# Before a call is sent again to the registrar that has dropped it; twice as long after each further drop.
PAUSE_SECONDS = 0.05
MOST_PAUSE_SECONDS = 1.0
# A connection that lasted longer was not ended by what it began with.
LASTING_SECONDS = 10.0


class Drops:
    """The drops of one client in a row by the same registrar."""

    def __init__(self) -> None:
        self._registrar = 0
        self._count = 0
        self._since = 0.0

    def add(self, connection: Connection | None) -> int:
        """Note a drop. Gives the pid of the registrar; 0 where it is not known."""
        registrar = 0 if connection is None else connection.registrar
        now = time.monotonic()
        if registrar != self._registrar or now - self._since > LASTING_SECONDS:
            self._registrar, self._count = registrar, 0
        self._count += 1
        return registrar

    def note(self, folder: Path, connection: Connection | None, error: Exception) -> None:
        """`add`, for the only call on a connection. Errors: `RegistrarUnavailable` where the same registrar has dropped
        the call before."""
        before = self._registrar
        if (registrar := self.add(connection)) and registrar == before:
            raise dropped_again(folder, registrar, error) from error

    def connected(self, connection: Connection, until: float) -> None:
        """Pause, where `connection` leads to the registrar that has dropped the last one; not beyond `until`."""
        if self._registrar and connection.registrar == self._registrar:
            pause = min(PAUSE_SECONDS * 2 ** (self._count - 1), MOST_PAUSE_SECONDS)
            time.sleep(max(0.0, min(pause, until - time.monotonic())))
        self._since = time.monotonic()


def dropped_again(folder: Path, registrar: int, error: Exception) -> RegistrarUnavailable:
    """The error of a call that this registrar has dropped twice."""
    return RegistrarUnavailable(
        f"the registrar of {folder} (process {registrar}) lives, and ended the connection twice at this call, without "
        f"an answer ({error}); its registrar.log may say why. Check with lookup() whether the call was carried out. If "
        "that happens again, please report it"
    )
