"""Which members a list shows and in which order: what the query of an address asks for.

    /?q=planner+tokens>=1000&health=degraded&capability=planning&sort=-load&limit=500

`q` has the words of the filter box: a word with a sign is a condition on own data, as of ``adsum ls --where``, and any
other must occur in the text of the entry. The other names are the chips.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from ..errors import InvalidQuery
from ..model import Entry, HealthStatus, ProcessType
from ..views import order
from ..views.search_words import has_words
from ..views.where import Expression, has_sign, parse_term, split_words

DEFAULT_LIMIT = 1000
MAX_LIMIT = 100_000
MAX_FILTER_CHARACTERS = 1000
# What a query may say about members; a list has an order and a limit, too.
FILTERS = ("q", "health", "type", "namespace", "node", "capability")
_SEVERITY = (HealthStatus.unhealthy, HealthStatus.degraded, HealthStatus.healthy)

Key = Callable[[Entry], Any]
# Lists are sorted again and again by the ids of the same members.
by_id = lru_cache(65536)(order.by_id)

# Each order puts those first that an operator looks for, as `adsum top` does.
ORDERS: dict[str, Key] = {
    "id": lambda entry: by_id(entry.process_id),
    "health": lambda entry: (_SEVERITY.index(entry.metadata.health_status), by_id(entry.process_id)),
    "type": lambda entry: (entry.metadata.type, by_id(entry.process_id)),
    "up": lambda entry: (-entry.incarnation, by_id(entry.process_id)),
    "pid": lambda entry: (entry.pid, by_id(entry.process_id)),
}


@dataclass(frozen=True)
class Selection:
    """A filter, an order and a limit. All conditions must hold."""

    q: str = ""
    health: HealthStatus | None = None
    type: ProcessType | None = None
    namespace: str | None = None
    node: str | None = None
    capabilities: tuple[str, ...] = ()
    sort: str = "id"
    limit: int = DEFAULT_LIMIT
    # Parsed from `q`.
    words: tuple[str, ...] = field(default=(), compare=False)
    expression: Expression | None = field(default=None, compare=False)

    def has_text(self, entry: Entry) -> bool:
        """Whether the words of the filter box match."""
        return has_words(entry, self.words) and (self.expression is None or self.expression(entry))

    def matches(self, entry: Entry) -> bool:
        """Whether all conditions hold."""
        return not self.failing(entry) and self.has_text(entry)

    def failing(self, entry: Entry) -> list[str]:
        """The names of the chips' conditions that the entry does not meet."""
        metadata = entry.metadata
        failing = []
        if self.health is not None and metadata.health_status != self.health:
            failing.append("health")
        if self.type is not None and metadata.type != self.type:
            failing.append("type")
        if self.namespace is not None and entry.process_id.namespace != self.namespace:
            failing.append("namespace")
        if self.node is not None and entry.process_id.node != self.node:
            failing.append("node")
        if not metadata.capabilities.issuperset(self.capabilities):
            failing.append("capability")
        return failing

    def key(self, entry: Entry) -> Any:
        """The key to sort by. Equal keys are of one id."""
        name = self.sort.removeprefix("-")
        key = ORDERS[name](entry) if name in ORDERS else _by_number(entry, name, descending=self.sort[0] == "-")
        return _DescendingKey(key) if self.sort[0] == "-" and name in ORDERS else key

    def sorted(self, entries: Iterable[Entry]) -> list[Entry]:
        return sorted(entries, key=self.key)

    def query(self, **changes: object) -> str:
        """The query of the address of this selection with `changes`, with its question mark; empty where all is as by
        default."""
        other = replace(self, **changes)  # type: ignore[arg-type]
        pairs = [(name, getattr(other, name)) for name in ("q", "health", "type", "namespace", "node")]
        pairs += [("capability", name) for name in other.capabilities]
        pairs += [("sort", "" if other.sort == "id" else other.sort)]
        pairs += [("limit", "" if other.limit == DEFAULT_LIMIT else other.limit)]
        found = urlencode([(name, value) for name, value in pairs if value not in (None, "")])
        return f"?{found}" if found else ""


def require_known(query: QueryParams, known: Collection[str]) -> None:
    """Errors: `InvalidQuery` for a parameter that an address of the API does not have: a misspelt filter would find all
    members."""
    unknown = [name for name in query if name not in known]
    if unknown:
        similar = difflib.get_close_matches(unknown[0], known, 1)
        meant = f"do you mean {similar[0]}? " if similar else ""
        raise InvalidQuery(f"no such parameter: {unknown[0]!r:.80}; {meant}there are {', '.join(known)}")


def parse_selection(query: QueryParams) -> Selection:
    """The selection that an address asks for. Errors: `InvalidQuery`."""
    q = query.get("q", "").strip()
    words, expression = _parse_filter(q)
    sort = query.get("sort", "") or "id"
    if not sort.removeprefix("-"):
        raise InvalidQuery(
            f"sort={sort!r}: give id, health, type, up, pid, or the name of a number; - in front reverses"
        )
    return Selection(
        q=q,
        health=_one_of(HealthStatus, "health", query.get("health")),
        type=_one_of(ProcessType, "type", query.get("type")),
        namespace=query.get("namespace") or None,
        node=query.get("node") or None,
        capabilities=tuple(sorted({name for name in query.getlist("capability") if name})),
        sort=sort,
        limit=parse_limit(query),
        words=words,
        expression=expression,
    )


def parse_limit(query: QueryParams, default: int = DEFAULT_LIMIT) -> int:
    """The number of rows that an address asks for. Errors: `InvalidQuery`."""
    text = query.get("limit") or str(default)
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:9]) <= MAX_LIMIT:
        raise InvalidQuery(f"limit={text!r}: give a whole number from 0 to {MAX_LIMIT}")
    return int(text)


def _parse_filter(q: str) -> tuple[tuple[str, ...], Expression | None]:
    if len(q) > MAX_FILTER_CHARACTERS:
        raise InvalidQuery(f"the filter has {len(q)} characters; give at most {MAX_FILTER_CHARACTERS}")
    parts = split_words(q) if q else []
    terms = [parse_term(part) for part in parts if has_sign(part)]
    words = tuple(part.lower() for part in parts if not has_sign(part))
    return words, Expression(tuple(terms)) if terms else None


def _one_of(kind: Any, name: str, value: str | None) -> Any:
    try:
        return kind(value) if value else None
    except ValueError:
        raise InvalidQuery(f"{name}={value!r}: give one of {', '.join(kind)}") from None


def _by_number(entry: Entry, name: str, *, descending: bool) -> tuple[bool, float, Any]:
    """By a gauge, or a number in the resources; entries without it come last, in either direction."""
    value = entry.gauges.get(name, entry.metadata.resources.get(name))
    if isinstance(value, str) or value is None:
        return True, 0.0, by_id(entry.process_id)
    return False, -value if descending else value, by_id(entry.process_id)


class _DescendingKey:
    """A key in the opposite order."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _DescendingKey) -> bool:
        return bool(other.key < self.key)
