"""The conditions of `find`, and whether an entry matches them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypedDict, TypeVar

from .._foreign import reraise_foreign
from ..errors import InvalidQuery
from ..model import Entry, HealthStatus, ProcessId, ProcessType
from .layout import index_key

V = TypeVar("V", ProcessType, HealthStatus)


class Conditions(TypedDict, total=False):
    """The keywords by which entries are searched. All that are given must hold."""

    capability: str | Collection[str] | None
    type: str | None
    health_status: str | None
    node: str | None
    namespace: str | None


class Query(NamedTuple):
    """Conditions that hold together, inside one namespace."""

    namespace: str
    capabilities: frozenset[str] = frozenset()
    type: ProcessType | None = None
    health_status: HealthStatus | None = None
    node: str | None = None
    process_id: ProcessId | None = None

    def index_keys(self) -> list[tuple[str, bytes]]:
        """The index rows that every match must have, as (table, key)."""
        keys = [("by_capability", index_key(self.namespace, capability)) for capability in self.capabilities]
        for table, value in (("by_type", self.type), ("by_health", self.health_status), ("by_node", self.node)):
            if value is not None:
                keys.append((table, index_key(self.namespace, value)))
        return keys

    def matches(self, entry: Entry) -> bool:
        metadata = entry.metadata
        return (
            entry.process_id.namespace == self.namespace
            and self.capabilities <= metadata.capabilities
            and (self.type is None or metadata.type == self.type)
            and (self.health_status is None or metadata.health_status == self.health_status)
            and (self.node is None or entry.process_id.node == self.node)
            and (self.process_id is None or entry.process_id == self.process_id)
        )


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def parse_query(own_namespace: str, conditions: Conditions) -> Query:
    """A checked `Query`; `InvalidQuery` says which values would have been possible."""
    unknown = conditions.keys() - Conditions.__annotations__.keys()
    if unknown:
        known = ", ".join(Conditions.__annotations__)
        raise TypeError(f"no such condition: {', '.join(sorted(unknown))}; the conditions are {known}")
    type, health_status = conditions.get("type"), conditions.get("health_status")
    namespace, node = conditions.get("namespace"), conditions.get("node")
    return Query(
        namespace=own_namespace if namespace is None else _text("namespace", namespace),
        capabilities=frozenset(_text("capability", one) for one in _several(conditions.get("capability"))),
        type=None if type is None else _one_of(ProcessType, "type", type),
        health_status=None if health_status is None else _one_of(HealthStatus, "health_status", health_status),
        node=None if node is None else _text("node", node),
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value or _is_broken(value):
        raise InvalidQuery(f"{name}={value!r}: give a non-empty string of Unicode text without NUL")
    return value


def _one_of(values: type[V], name: str, value: str) -> V:
    try:
        return values(value)
    except ValueError as error:
        reraise_foreign(error)
        raise InvalidQuery(f"{name}={value!r}: give one of {', '.join(values)}") from None


def _several(capability: object) -> list[object]:
    if capability is None:
        return []
    if isinstance(capability, Collection) and not isinstance(capability, (str, bytes)):
        return list(capability)
    return [capability]
