"""How `choose` picks one of several members."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

from ._store.query import Query
from .model import Entry

Choice: TypeAlias = "Literal['random', 'round_robin'] | Callable[[list[Entry]], Entry | None]"

# A registry object keeps the turns of so many different queries; those used least recently begin anew.
MAX_TURNS = 1024


class Chooser:
    """Keeps whose turn it is, for each query of one registry object."""

    def __init__(self) -> None:
        self._turns = lru_cache(MAX_TURNS)(_first_turn)

    def choose(self, members: list[Entry], by: Choice, query: Query) -> Entry | None:
        """One of `members`, which are sorted by id. Errors: `ValueError` where a callable gives something else."""
        if not members:
            return None
        if callable(by):
            chosen = by(members)
            if chosen is not None and chosen not in members:
                raise ValueError(f"by={by!r} returned {chosen!r}: return one of the entries it is given, or None")
            return chosen
        if by == "random":
            return random.choice(members)
        return members[next(self._turns(query)) % len(members)]


def check_choice(by: object) -> None:
    if not callable(by) and by not in ("random", "round_robin"):
        raise ValueError(f"by={by!r}: give 'random', 'round_robin' or a callable")


def _first_turn(_: Query) -> itertools.count[int]:
    # Random, so that many processes that begin at the same time do not all choose the same member first.
    return itertools.count(random.randrange(1 << 30))
