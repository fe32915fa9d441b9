"""What the chips of the members' list count.

For each value of a condition: the members that it would leave, with all other conditions as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..model import Entry
from .selection import Selection


@dataclass
class Facets:
    """The members that match, in order, and the counts of the chips."""

    shown: list[Entry]
    total: int
    everything: int
    health: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    capabilities: Counter[str] = field(default_factory=Counter)


def select(entries: Sequence[Entry], selection: Selection) -> Facets:
    """The members of `entries` that match, the first of them up to the limit, and the counts."""
    found = count(entries, selection)
    found.shown = selection.sorted(found.shown)[: selection.limit]
    return found


def count(entries: Iterable[Entry], selection: Selection) -> Facets:
    """The same, without order and limit."""
    facets = Facets([], 0, 0)
    for entry in entries:
        facets.everything += 1
        failing = selection.failing(entry)
        # A value of a chip counts with all other conditions, so one that fails alone leaves its own chips.
        if len(failing) > 1 or not selection.has_text(entry):
            continue
        _count_one(facets, entry, failing[0] if failing else None)
    facets.total = len(facets.shown)
    return facets


def _count_one(facets: Facets, entry: Entry, failing: str | None) -> None:
    namespace, node, _ = entry.process_id
    if failing in (None, "health"):
        facets.health[entry.metadata.health_status] += 1
    if failing in (None, "type"):
        facets.types[entry.metadata.type] += 1
    if failing in (None, "namespace"):
        facets.namespaces[namespace] += 1
    if failing in (None, "node"):
        facets.nodes[node] += 1
    if failing is None:
        # Several capabilities must all hold, so each further chip narrows what is found.
        facets.capabilities.update(entry.metadata.capabilities)
        facets.shown.append(entry)
