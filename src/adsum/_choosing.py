"""How `choose` picks one of several members."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from ._columns import column_of, index_of_least
from ._ordering import Key, check_key, measured
from ._store.kept_results import KeptResult
from ._store.query import Query
from .model import Entry

Choice: TypeAlias = (
    "Literal['random', 'round_robin', 'least', 'two_choices', 'weighted'] | Callable[[list[Entry]], Entry | None]"
)

# A registry object keeps the turns of so many different queries; those used least recently begin anew.
MAX_TURNS = 1024
# The key of `weighted` where the call names none, and the weight of a member that has no such number.
WEIGHT = "weight"
USUAL_WEIGHT = 1

_WITHOUT_KEY = ("random", "round_robin")
_WITH_KEY = ("least", "two_choices", "weighted")
_WAYS = _WITHOUT_KEY + _WITH_KEY


class Chooser:
    """Keeps whose turn it is, for each query of one registry object."""

    def __init__(self) -> None:
        self._turns = lru_cache(MAX_TURNS)(_first_turn)

    def choose(self, members: list[Entry], by: Choice, key: Key | None, query: Query) -> Entry | None:
        """One of `members`, which are sorted by id. `by` and `key` are checked. Errors: `ValueError` where a callable
        gives something else."""
        if not members:
            return None
        if callable(by):
            chosen = by(members)
            if chosen is not None and chosen not in members:
                raise ValueError(f"by={by!r} returned {chosen!r}: return one of the entries it is given, or None")
            return chosen
        index = self._index(len(members), members.__getitem__, by, key, query)
        return None if index is None else members[index]

    def index_in(self, kept: KeptResult, by: Choice, key: Key | None, query: Query) -> int | None:
        """The index of one member of a result that is kept, which has some; None where none of them is chosen."""
        if by == "least" and isinstance(key, str):
            column = column_of(kept.entries, key, kept.rows, kept.columns)
            index = None if column is None else column.least()
            if index is not None:
                return index
        return self._index(len(kept.entries), lambda index: kept.members[index].present(), by, key, query)

    def _index(
        self, members: int, member: Callable[[int], Entry], by: Choice, key: Key | None, query: Query
    ) -> int | None:
        """The index of one of so many members, of which only those are asked for that are compared."""
        if by == "random":
            return int(random.random() * members)
        if by == "round_robin":
            return next(self._turns(query)) % members
        if by == "two_choices":
            pair = random.sample(range(members), min(2, members))
            return pair[index_of_least([measured(member(index), key or "") for index in pair])]
        if by == "least":
            return index_of_least([measured(member(index), key or "") for index in range(members)])
        return _weighted([measured(member(index), WEIGHT if key is None else key) for index in range(members)])


def check_choice(by: object, key: object = None) -> None:
    """Errors: `ValueError` for a way to choose that does not exist, or whose key is missing, impossible or needless."""
    if not callable(by) and by not in _WAYS:
        raise ValueError(f"by={by!r}: give {', '.join(map(repr, _WAYS))} or a callable")
    if callable(by) or by in _WITHOUT_KEY:
        if key is not None:
            raise ValueError(f"key={key!r}: by={by!r} compares no numbers; use it with {', '.join(_WITH_KEY)}")
    elif key is not None or by != "weighted":
        check_key(key, "key")


def _weighted(numbers: Sequence[float | None]) -> int | None:
    weights = [USUAL_WEIGHT if number is None else max(0, number) for number in numbers]
    largest = max(weights)
    if not largest:
        return None
    # As shares of the largest, whose sum is finite. Beside an infinite weight no finite one counts.
    shares = [float(weight == largest) if math.isinf(largest) else weight / largest for weight in weights]
    return random.choices(range(len(shares)), shares)[0]


def _first_turn(_: Query) -> itertools.count[int]:
    # Random, so that many processes that begin at the same time do not all choose the same member first.
    return itertools.count(random.randrange(1 << 30))
