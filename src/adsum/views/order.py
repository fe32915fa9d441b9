"""The order in which people expect ids: numbers in them count as numbers, so agent-2 comes before agent-10."""

from __future__ import annotations

import re
from typing import TypeAlias

from ..model import ProcessId

_NUMBER = re.compile("([0-9]+)")

# Text and numbers take turns, and text comes first, so equal places hold equal types.
_Key: TypeAlias = "list[list[str | int]]"


def by_id(process_id: ProcessId) -> tuple[_Key, ProcessId]:
    """The key to sort by. Ids that differ in leading zeros alone are sorted by their text.

    >>> from adsum.views.order import by_id
    >>> team = registry.register_many([("agent-10", {}), ("agent-2", {})])
    >>> [id.local_id for id in sorted(registry, key=by_id)]
    ['agent-2', 'agent-10']
    """
    return [_natural(part) for part in process_id], process_id


def _natural(text: str) -> list[str | int]:
    # `split` gives the numbers at the odd places.
    return [int(piece) if place % 2 else piece for place, piece in enumerate(_NUMBER.split(text))]
