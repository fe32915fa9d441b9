"""Gauges: numbers that a member changes in shared memory, as often as it likes, and that readers find there.

An entry has the names of its gauges, the values at its registration, and a *place*: the number of a row on the board
with room for `MAX_GAUGES` (see `adsum._member_row`). A gauge is three words there: the value as a float64, its check,
which has the same bits exclusive-or the key of its entry, and a second copy of the value. So a reader accepts a value
only if it was written for this entry, and whole: a value of another member, or of none at all, does not fit the check.

A writer changes the copy that does not count, then the check, then the other copy. So one copy fits the check at every
moment, also while a writer has no processor, or is stopped. (Where several write the same gauge, one that is stopped
between two words may hide the value until it goes on.) A program that writes into a row that is not its own may hide a
value, but is never mistaken for its owner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ._frozen import FrozenDict
from ._member_row import GAUGE_CHECK, GAUGE_WORDS, MAX_GAUGES, gauges_at, key_of
from .errors import InvalidMetadata, InvalidQuery

if TYPE_CHECKING:
    from .model import Entry

# How often a reader looks for a value that fits: there may be another board, or several writers.
_TRIES = 10


class OpenMemberRows(Protocol):
    """The member rows of a registry that this process reads: their words, the same as floats, and how many of them have
    memory. They are those of the board with this number; `in_use` has the number of the board that is in use."""

    words: memoryview
    floats: memoryview[float]
    ready: int
    number: int
    in_use: memoryview

    def value(self, at: int, key: int) -> float | None:
        """The value of the gauge at this word; None where there is none of the entry with this key."""
        ...

    def renew(self) -> None:
        """Make `ready` the present number, and open the board that is in use. Lets other threads run."""
        ...


# The open rows of all registries that are open. Another tuple after each change.
_open: tuple[OpenMemberRows, ...] = ()


def add_open(rows: OpenMemberRows) -> None:
    global _open
    _open = (*_open, rows)


def remove_open(rows: OpenMemberRows) -> None:
    global _open
    _open = tuple(one for one in _open if one is not rows)


class _Values(FrozenDict):
    """Values as they were read. Setting one here would change no gauge."""

    __slots__ = ()
    refusal = (
        "these are the values of one moment; set a gauge with registration.gauges[name] = value, or with "
        "registry.set_gauge(id, name, value)"
    )

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def values_of(entry: Entry) -> dict[str, float]:
    """The present value of each gauge of an entry."""
    at, values = gauges_at(entry), {}
    for name in entry.metadata.gauges:
        values[name] = _value(entry, at, name)
        at += GAUGE_WORDS
    return _Values(values)


def value_of(entry: Entry, name: str) -> float | None:
    """The present value of one gauge; None where the entry has none of this name."""
    at = gauges_at(entry)
    for known in entry.metadata.gauges:
        if known == name:
            return _value(entry, at, name)
        at += GAUGE_WORDS
    return None


def _value(entry: Entry, at: int, name: str) -> float:
    key = key_of(entry)
    for rows in _open:
        words = rows.words
        if at < rows.ready and (bits := words[at]) ^ words[at + GAUGE_CHECK] == key and rows.in_use[0] == rows.number:
            value: float = rows.floats[at]
            # NaN is no value of a gauge, whatever program wrote it.
            if words[at] == bits and value == value:
                return value
    return _value_after_a_while(entry, at, name, key)


def _value_after_a_while(entry: Entry, at: int, name: str, key: int) -> float:
    for attempt in range(_TRIES):
        if attempt:
            for rows in _open:
                rows.renew()
        # Others may be open now.
        for rows in _open:
            if rows.in_use[0] == rows.number:
                value = rows.value(at, key)
                if value is not None and value == value:
                    return value
    registered: float = entry.metadata.gauges[name]
    return registered


def require_value(entry: Entry, name: str) -> float:
    """`value_of`, for a gauge that must exist. Errors: `InvalidQuery`."""
    value = value_of(entry, name)
    if value is None:
        raise no_gauge(entry, name)
    return value


def no_gauge(entry: Entry, name: object) -> InvalidQuery:
    """The error where an entry has no gauge of this name."""
    names = ", ".join(map(repr, entry.metadata.gauges))
    advice = f"it has {names}" if names else "give gauges= at its registration"
    return InvalidQuery(f"{entry.process_id} has no gauge {name!r}; {advice}")


def check_value(name: str, value: object) -> float:
    """A value for a gauge. Errors: `InvalidMetadata`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidMetadata(f"gauges[{name!r}]: {value!r:.80} is no number; give an int or a float")
    try:
        number = float(value)
    except OverflowError:
        raise InvalidMetadata(f"gauges[{name!r}]: {value!r:.40}... is too large for a float") from None
    if math.isnan(number):
        raise InvalidMetadata(f"gauges[{name!r}]: NaN compares with no number; give another value")
    return number


def check_gauges(gauges: Mapping[str, float]) -> None:
    """Errors: `InvalidMetadata` where these cannot be the gauges of a member."""
    if len(gauges) > MAX_GAUGES:
        raise InvalidMetadata(f"metadata.gauges: {len(gauges)} given, a member has up to {MAX_GAUGES}")
    for name, value in gauges.items():
        check_value(name, value)
