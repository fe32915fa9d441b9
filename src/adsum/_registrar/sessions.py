"""Sessions that entries and standbys are bound to, and how the registrar learns that they ended.

A session is a client's identity over all its connections. The entry of a thread or a task is bound to the session that
registered it and ends with it, because the kernel reports the deaths of processes and of nothing inside them. While a
registrar serves, the end of a session is a connection that closes and is not replaced. A session that it inherited from
an earlier registrar may have ended while none served, and no event will report it: about those that did not come back
it asks the kernel (see `_os.session`).

An ended session is kept here until a batch is committed that removes its entries and standbys.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from .._engine.batch import EndedSession
from .._os import session as files
from ..model import Owner
from .ports import SessionFiles


class LockedFiles:
    """The session files in a registry's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_over(self, session: bytes) -> bool:
        return files.is_over(self._folder, session)

    def forget(self, session: bytes) -> None:
        files.forget(self._folder, session)


class Sessions:
    """The bound sessions of one registry, and in `ended` those that ended since the last batch."""

    def __init__(self, session_files: SessionFiles) -> None:
        self._files = session_files
        self._bound: set[bytes] = set()
        self._inherited: dict[bytes, Owner] = {}
        self.ended: list[EndedSession] = []

    def inherit(self, sessions: dict[bytes, Owner]) -> None:
        """Take over the bound sessions of an earlier registrar, which may have ended since."""
        self._bound = set(sessions)
        self._inherited = sessions

    def bind(self, session: bytes) -> None:
        """An entry or a standby is bound to this session from now on."""
        self._bound.add(session)

    def disconnected(self, session: bytes, owner: Owner) -> None:
        """The connection of a session is closed: its bound entries and standbys end with it."""
        if session in self._bound:
            self._end(session, owner)

    def check_inherited(self, connected: Container[bytes]) -> None:
        """End the inherited sessions that are not `connected` and that no process holds."""
        for session, owner in list(self._inherited.items()):
            if session not in connected and self._files.is_over(session):
                self._end(session, owner)

    def take_ended(self) -> list[EndedSession]:
        """The ended sessions, for the next batch."""
        ended, self.ended = self.ended, []
        return ended

    def _end(self, session: bytes, owner: Owner) -> None:
        self._bound.discard(session)
        self._inherited.pop(session, None)
        self.ended.append(EndedSession(owner, session))
        self._files.forget(session)
