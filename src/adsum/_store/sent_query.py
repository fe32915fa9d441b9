"""The conditions of a search as plain data, for a request to the registrar, which makes the query of them again.

Ranges are no plain data: they go beside the others, each with the path of its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .._ranges import Range
from ..errors import InvalidQuery
from ..model import HealthStatus, ProcessId
from .query import ALL, Conditions, Query, parse_query
from .scanned import several

_RANGES = "ranges"
_NAMES = frozenset({"capability", "any_capability", "not_capability"})
_DATA = frozenset({"custom", "resources"})
# The namespace has a field of its own in the request, and the health status is always the same.
_NOT_SENT = frozenset({"namespace", "health_status"})


def plain_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions that `parse_query` has checked, as plain data."""
    sent: dict[str, Any] = {}
    ranges: list[list[Any]] = []
    for name, value in conditions.items():
        if value is None or name in _NOT_SENT:
            continue
        if name in _DATA:
            value = _without_ranges([name], value, ranges)
        elif name in _NAMES:
            value = several(value)
        sent[name] = value
    return {**sent, _RANGES: ranges} if ranges else sent


def _without_ranges(path: list[str], values: Mapping[str, Any], ranges: list[list[Any]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Range):
            ranges.append([[*path, name], value.low, value.high])
        elif isinstance(value, Mapping):
            kept[name] = _without_ranges([*path, name], value, ranges)
        else:
            kept[name] = value
    return kept


def claimed_query(namespace: str | None, conditions: Mapping[str, Any], process_id: ProcessId | None) -> Query:
    """The query of a claim, from checked conditions of a caller or from what `plain_conditions` made of them: only
    healthy members match. Errors: `InvalidQuery`."""
    given = {name: value for name, value in conditions.items() if name != _RANGES}
    for path, low, high in _listed(conditions.get(_RANGES, [])):
        given = _put(given, path, Range(low, high))
    if given.get("health_status") not in (None, HealthStatus.healthy):
        raise InvalidQuery(f"health_status={given['health_status']!r}: only healthy members are claimed; leave it out")
    checked = cast(Conditions, {**given, "health_status": HealthStatus.healthy})
    if namespace is None:
        checked["namespace"] = ALL
    query = parse_query(namespace or "", checked)
    return query if process_id is None else query.about(process_id, checked)


def _listed(ranges: object) -> list[tuple[list[str], int | float, int | float]]:
    """The sent ranges, checked. A client of another version may send anything."""
    found = []
    for one in ranges if isinstance(ranges, list) else [ranges]:
        if not (isinstance(one, list) and len(one) == 3):
            raise InvalidQuery("the ranges of the conditions are no triples of a path and two numbers")
        path, low, high = one
        numbers = all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in (low, high))
        if not (numbers and isinstance(path, list) and path and all(isinstance(name, str) for name in path)):
            raise InvalidQuery("the ranges of the conditions are no triples of a path and two numbers")
        found.append((path, low, high))
    return found


def _put(values: Mapping[str, Any], path: list[str], value: Range) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**values, first: value}
    inner = values.get(first, {})
    if not isinstance(inner, dict):
        raise InvalidQuery(f"the conditions have a range inside {first!r}, which is no mapping")
    return {**values, first: _put(inner, rest, value)}
