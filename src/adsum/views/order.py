"""The order in which people expect ids and names: numbers in them count as numbers, so agent-2 comes before
agent-10."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..model import ProcessId

_NUMBER = re.compile("([0-9]+)")

# Text and numbers take turns, and text comes first, so equal places hold equal types. A number is its length and its
# digits: Python converts no number of any length (`sys.set_int_max_str_digits`).
_Natural: TypeAlias = "list[str | tuple[int, str]]"


def by_id(process_id: ProcessId) -> tuple[list[_Natural], ProcessId]:
    """The key to sort by. Ids that differ in leading zeros alone are sorted by their text.

    >>> from adsum.views.order import by_id
    >>> team = registry.register_many([("agent-10", {}), ("agent-2", {})])
    >>> [id.local_id for id in sorted(registry, key=by_id)]
    ['agent-2', 'agent-10']
    """
    return [_natural(part) for part in process_id], process_id


def by_name(name: str) -> tuple[_Natural, str]:
    """The key to sort one name by, such as a namespace, a host or a capability.

    >>> from adsum.views.order import by_name
    >>> sorted(["gpu-10", "gpu-2"], key=by_name)
    ['gpu-2', 'gpu-10']
    """
    return _natural(name), name


def sorted_names(names: Iterable[str]) -> list[str]:
    """The names in this order.

    >>> from adsum.views.order import sorted_names
    >>> sorted_names({"gpu-10", "gpu-2", "cpu"})
    ['cpu', 'gpu-2', 'gpu-10']
    """
    return sorted(names, key=by_name)


def most_common(counts: Mapping[str, int], number: int | None = None) -> list[tuple[str, int]]:
    """The names with their counts, the most frequent first, equal ones in this order; at most so many.

    >>> from adsum.views.order import most_common
    >>> most_common({"gpu-10": 1, "gpu-2": 1, "cpu": 5})
    [('cpu', 5), ('gpu-2', 1), ('gpu-10', 1)]
    """
    return sorted(counts.items(), key=lambda pair: (-pair[1], by_name(pair[0])))[:number]


def _natural(text: str) -> _Natural:
    # `split` gives the numbers at the odd places.
    return [_number(piece) if index % 2 else piece for index, piece in enumerate(_NUMBER.split(text))]


def _number(digits: str) -> tuple[int, str]:
    shown = digits.lstrip("0")
    return len(shown), shown
