"""The conditions of `find`, and whether an entry matches them."""

from collections.abc import Collection, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypedDict, TypeVar, cast

from .._foreign import reraise_foreign
from .._ranges import Range
from .._validation import AnyHealth
from .._wording import do_you_mean
from ..errors import InvalidQuery, UnknownCondition
from ..model import Entry, HealthStatus, ProcessId, ProcessType
from . import own_index
from .layout import index_key
from .own_index import IndexedName
from .scanned import OwnData, ScannedCondition, scanned_conditions, several

V = TypeVar("V", ProcessType, HealthStatus)


class AllNamespaces(Enum):
    """The type of `adsum.ALL`.

    >>> registration = registry.register(adsum.ProcessId("other", "here", "planner-1"))
    >>> registry.count(), registry.count(namespace=adsum.ALL)
    (0, 1)
    """

    ALL = "all"

    def __repr__(self) -> str:
        return "adsum.ALL"


ALL: Final = AllNamespaces.ALL


class Conditions(TypedDict, total=False):
    """The keywords by which entries are searched. All that are given must hold.

    >>> registration = registry.register("planner-1", capabilities={"planning"})
    >>> conditions: adsum.Conditions = {"capability": "planning", "health_status": "healthy"}
    >>> registry.count(**conditions)
    1
    """

    capability: str | Collection[str] | None
    type: str | None
    health_status: AnyHealth | None
    node: str | None
    namespace: str | AllNamespaces | None
    custom: Mapping[str, object] | None
    resources: Mapping[str, int | float | str | Range | None] | None
    any_capability: str | Collection[str] | None
    not_capability: str | Collection[str] | None
    id_prefix: str | None
    pid: int | None
    text: str | None
    hosts: Literal["here"] | None
    unreachable: bool


class Query(NamedTuple):
    """Conditions that hold together, inside one namespace, or in all of them where `namespace` is None."""

    namespace: str | None
    capabilities: frozenset[str] = frozenset()
    type: ProcessType | None = None
    health_status: HealthStatus | None = None
    node: str | None = None
    process_id: ProcessId | None = None
    scanned: tuple[ScannedCondition, ...] = ()
    here: bool = False
    unreachable: bool = False

    @property
    def searched(self) -> str:
        """The namespace, for telemetry; ``*`` for all of them."""
        return "*" if self.namespace is None else self.namespace

    @property
    def is_indexed(self) -> bool:
        """Whether one index alone decides, so that no candidate has to be compared."""
        return self.namespace is not None and not self.scanned and not self.here and len(self.index_keys()) < 2

    def about(self, process_id: ProcessId, conditions: Conditions) -> "Query":
        """The same conditions, on the entry of one id. Errors: `InvalidQuery` where it could never match them."""
        namespace, node = conditions.get("namespace"), self.node
        if namespace not in (None, ALL, process_id.namespace):
            raise InvalidQuery(f"namespace={namespace!r}: the id {process_id} is in another one; leave it out")
        if node not in (None, process_id.node):
            raise InvalidQuery(f"node={node!r}: the id {process_id} is on another one; leave it out")
        return self._replace(namespace=process_id.namespace, process_id=process_id)

    def index_keys(self, indexed: Collection[IndexedName] = ()) -> list[tuple[str, bytes]]:
        """The index rows that every match must have, as (table, key), in a registry that indexes these names of own
        data."""
        if self.namespace is None:
            # The keys of an index begin with the namespace.
            return []
        keys = self._own_keys(self.namespace, indexed) if indexed and self.scanned else []
        keys += [("by_capability", index_key(self.namespace, capability)) for capability in self.capabilities]
        for table, value in (("by_type", self.type), ("by_health", self.health_status), ("by_node", self.node)):
            if value is not None:
                keys.append((table, index_key(self.namespace, value)))
        return keys

    def _own_keys(self, namespace: str, indexed: Collection[IndexedName]) -> list[tuple[str, bytes]]:
        keys = []
        for one in self.scanned:
            if isinstance(one, OwnData) and not isinstance(one.wanted, Range):
                name = IndexedName(one.field, one.path)
                if name in indexed and (key := own_index.key_for(namespace, name, one.wanted)) is not None:
                    keys.append((own_index.TABLE, key))
        return keys

    def matches(self, entry: Entry) -> bool:
        metadata = entry.metadata
        return (
            self.namespace in (None, entry.process_id.namespace)
            and self.capabilities <= metadata.capabilities
            and (self.type is None or metadata.type == self.type)
            and (self.health_status is None or metadata.health_status == self.health_status)
            and (self.node is None or entry.process_id.node == self.node)
            and (self.process_id is None or entry.process_id == self.process_id)
            and (not self.here or entry.origin is None)
            and all(condition.matches(entry) for condition in self.scanned)
        )


# Queries that are asked again are parsed once: so many of them, those used least recently are parsed anew.
MAX_PARSED = 1024
# The conditions that have an index each, and the namespace.
INDEXED = frozenset({"capability", "type", "health_status", "node", "namespace", "hosts", "unreachable"})


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def parse_query(own_namespace: str, conditions: Conditions) -> Query:
    """A checked `Query`; `InvalidQuery` says which values would have been possible."""
    if conditions.keys() <= INDEXED:
        try:
            return _parsed_before(own_namespace, tuple(conditions.items()))
        except TypeError as error:
            # A value that cannot be hashed, such as a set.
            reraise_foreign(error)
    return _parsed(own_namespace, conditions)


@lru_cache(MAX_PARSED)
def _parsed_before(own_namespace: str, conditions: tuple[tuple[str, Any], ...]) -> Query:
    return _parsed(own_namespace, cast("Conditions", dict(conditions)))


def _parsed(own_namespace: str, conditions: Conditions) -> Query:
    unknown = conditions.keys() - Conditions.__annotations__.keys()
    if unknown:
        raise _unknown_condition(sorted(unknown))
    type, health_status = conditions.get("type"), conditions.get("health_status")
    namespace, node = conditions.get("namespace"), conditions.get("node")
    capability = conditions.get("capability")
    capabilities = frozenset(() if capability is None else (_text("capability", one) for one in several(capability)))
    scanned = () if conditions.keys() <= INDEXED else scanned_conditions(conditions, capabilities, _text)
    return Query(
        namespace=_namespace(own_namespace, namespace),
        capabilities=capabilities,
        type=None if type is None else _one_of(ProcessType, "type", type),
        health_status=None if health_status is None else _one_of(HealthStatus, "health_status", health_status),
        node=None if node is None else _text("node", node),
        scanned=scanned,
        here=_is_here(conditions.get("hosts")),
        unreachable=_flag("unreachable", conditions.get("unreachable", False)),
    )


def _unknown_condition(unknown: list[str]) -> UnknownCondition:
    known = list(Conditions.__annotations__)
    meant = do_you_mean(unknown[0], known)
    return UnknownCondition(
        f"no such condition: {', '.join(unknown)}; {meant}the conditions are {', '.join(known)}, and where= for a "
        "function of an entry"
    )


def _namespace(own: str, given: object) -> str | None:
    if given is None:
        return own
    return None if given is ALL else _text("namespace", given)


def _is_here(hosts: object) -> bool:
    if hosts not in (None, "here"):
        raise InvalidQuery(f"hosts={hosts!r}: give 'here' for members of this registry alone, or None for all hosts")
    return hosts == "here"


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidQuery(f"{name}={value!r}: give True or False")
    return value


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
