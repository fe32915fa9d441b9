"""Sessions that entries live in, and how their ends come to be known.

A session is a client's life, over as many connections as it takes. The entry of a thread or a task is bound to the
session that registered it and ends with it, for the kernel tells of processes and not of what lives inside them. A
registrar that serves sees the connection close, and none come in its place. Sessions that it inherited from an earlier
one may have ended while nobody served, and no event will tell of it: about those that did not come back it asks the
kernel (see `_os.session`).

What has ended waits here until a batch that buries it is committed, because until then it is still in the tables.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from .._os import session as session_files
from ..model import Owner


class Sessions:
    """The bound sessions of one registry, and those that have ended since the last batch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bound: set[bytes] = set()
        self._inherited: dict[bytes, Owner] = {}
        self.ended: list[tuple[Owner, bytes]] = []

    def inherit(self, sessions: dict[bytes, Owner]) -> None:
        """Entries live in these sessions, which knew an earlier registrar and may have ended since."""
        self._bound = set(sessions)
        self._inherited = sessions

    def bind(self, session: bytes) -> None:
        """An entry lives inside this session from now on."""
        self._bound.add(session)

    def disconnected(self, session: bytes, owner: Owner) -> None:
        """The connection of a session is over. What lived inside it has ended with it."""
        if session in self._bound:
            self._end(session, owner)

    def check_inherited(self, connected: Container[bytes]) -> None:
        """Sessions that did not come back: the kernel knows whether somebody still holds them."""
        for session, owner in list(self._inherited.items()):
            if session not in connected and session_files.is_over(self._folder, session):
                self._end(session, owner)

    def take_ended(self) -> list[tuple[Owner, bytes]]:
        """What the next batch is to bury."""
        ended, self.ended = self.ended, []
        return ended

    def give_back(self, ended: list[tuple[Owner, bytes]]) -> None:
        """That batch could not be committed: a later one has to."""
        self.ended = ended

    def _end(self, session: bytes, owner: Owner) -> None:
        self._bound.discard(session)
        self._inherited.pop(session, None)
        self.ended.append((owner, session))
        session_files.forget(self._folder, session)
