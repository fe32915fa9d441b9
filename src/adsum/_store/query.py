"""What `find` was asked for, and whether an entry answers to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypedDict

from ..errors import InvalidQuery
from ..model import Entry, HealthStatus, ProcessId, ProcessType
from .layout import index_key


class Conditions(TypedDict, total=False):
    """The keywords by which entries are searched; those that are given must all hold."""

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
    capability, node = conditions.get("capability"), conditions.get("node")
    type, health_status = conditions.get("type"), conditions.get("health_status")
    namespace = conditions.get("namespace")
    namespace = own_namespace if namespace is None else namespace
    wanted = [] if capability is None else [capability] if isinstance(capability, str) else list(capability)
    texts: list[tuple[str, object]] = [("namespace", namespace), *(("capability", text) for text in wanted)]
    if node is not None:
        texts.append(("node", node))
    for name, text in texts:
        if not isinstance(text, str) or not text or "\0" in text or _is_broken(text):
            raise InvalidQuery(f"{name}={text!r}: give a non-empty string of Unicode text without NUL")
    try:
        kind = None if type is None else ProcessType(type)
        health = None if health_status is None else HealthStatus(health_status)
    except ValueError as error:
        possible = ", ".join([*ProcessType, *HealthStatus])
        raise InvalidQuery(f"{error}; the types and health statuses are: {possible}") from None
    return Query(namespace, frozenset(wanted), kind, health, node)
