"""Postponed cleanup: deaths and ended sessions whose batch could not be committed.

Their owners are not watched meanwhile, because a pidfd stays readable, and the loop would spin. Readers do not return
the dead, and a request that meets one removes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._engine.batch import Death, EndedSession
from .._store.environment import Environment

# How often to see whether there is more room than at the last attempt.
LOOK_SECONDS = 0.25
# Without more room, an attempt may take at most this share of a processor.
_SHARE = 1 / 50


class PostponedCleanups:
    """The cleanup that waits, and when to try again: when room appears, or after a while."""

    def __init__(self, deaths: Sequence[Death] = (), ended: Sequence[EndedSession] = ()) -> None:
        self._deaths, self._ended = list(deaths), list(ended)
        self._not_before = 0.0
        self._available = 0

    def __bool__(self) -> bool:
        return bool(self._deaths or self._ended)

    def add(
        self,
        deaths: Sequence[Death],
        ended: Sequence[EndedSession],
        tables: Environment,
        began: float,
        now: float,
    ) -> None:
        """An attempt that `began` then failed `now`."""
        self._deaths += deaths
        self._ended += ended
        self._available = tables.available_bytes()
        self._not_before = now + max(1.0, (now - began) / _SHARE)

    def is_due(self, tables: Environment, now: float) -> bool:
        return bool(self) and (now >= self._not_before or tables.available_bytes() > self._available)

    def take(self) -> tuple[list[Death], list[EndedSession]]:
        deaths, ended = self._deaths, self._ended
        self._deaths, self._ended = [], []
        return deaths, ended
