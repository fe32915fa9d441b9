"""The numbers of members, and the order that `find` puts members in by them.

A **choice key** is what a call compares members by: the name of a number, or a function of an entry. `number_of` is the
one module where a name becomes a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ._gauges import value_of
from .errors import InvalidQuery
from .model import Entry

Key: TypeAlias = str | Callable[[Entry], float | None]
OrderKey: TypeAlias = str | Callable[[Entry], Any]
OrderBy: TypeAlias = OrderKey | Sequence[OrderKey]

DESCENDING = "-"
_LARGEST = 1 << 1023


def number_of(entry: Entry, name: str) -> float | None:
    """The number that `entry` has under `name`: the present value of its gauge, else the one in its `resources`. None
    where it has none: nothing under the name, a string, or NaN, which compares with no number."""
    if name in entry.metadata.gauges:
        return value_of(entry, name)
    value = entry.metadata.resources.get(name)
    return None if value is None or isinstance(value, str) or math.isnan(value) else value


def check_key(key: object, what: str) -> None:
    """Errors: `InvalidQuery` unless `key` is a name or a function. `what` is the argument as the caller wrote it."""
    if not callable(key) and not (isinstance(key, str) and key):
        raise InvalidQuery(
            f"{what}={key!r}: give the name of a gauge or of a number in resources, or a function of an entry"
        )


def measured(entry: Entry, key: Key) -> float | None:
    """The number by which `choose` compares `entry`. Errors: `ValueError` where a function returns none."""
    if isinstance(key, str):
        return number_of(entry, key)
    value: object = key(entry)
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise ValueError(f"key={key!r} returned {value!r} for {entry.process_id}: return a number, or None for none")
    if isinstance(value, int):
        # A larger one compares with no float.
        return value if abs(value) <= _LARGEST else math.inf if value > 0 else -math.inf
    return None if math.isnan(value) else value


def check_order(order_by: OrderBy) -> Sequence[OrderKey]:
    """The keys of `order_by`, the first one first. Errors: `InvalidQuery`."""
    keys: Sequence[OrderKey] = order_by if isinstance(order_by, (tuple, list)) else (order_by,)
    if not keys:
        raise InvalidQuery(f"order_by={order_by!r}: give a name, a function of an entry, or several of them")
    for key in keys:
        check_key(key.removeprefix(DESCENDING) if isinstance(key, str) else key, "order_by")
    return keys


def ordered(entries: list[Entry], keys: Sequence[OrderKey]) -> list[Entry]:
    """The entries by these keys; those that are equal in all of them stay in the order that they have."""
    # The last key first: each sort is stable.
    for key in reversed(keys):
        entries = _ordered_by(entries, key)
    return entries


def _ordered_by(entries: list[Entry], key: OrderKey) -> list[Entry]:
    values = [(_value(entry, key), entry) for entry in entries]
    present = [pair for pair in values if pair[0] is not None]
    # With `reverse`, equal ones stay in their order too.
    present.sort(key=lambda pair: pair[0], reverse=isinstance(key, str) and key.startswith(DESCENDING))
    return [entry for _, entry in present] + [entry for value, entry in values if value is None]


def _value(entry: Entry, key: OrderKey) -> Any:
    if isinstance(key, str):
        return number_of(entry, key.removeprefix(DESCENDING))
    value = key(entry)
    return None if isinstance(value, float) and math.isnan(value) else value
