"""Counting entries by namespace, type and health status, without reading each entry.

The indexes give the number of entries with a type, and the number with a health status. For the number with both, the
entries of the rarer statuses are looked up, one index row each; most members of most registries are healthy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..model import HealthStatus, Owner, ProcessType
from . import snapshot
from .environment import Environment
from .layout import index_key
from .snapshot import Txn


class Group(NamedTuple):
    """The group key of `census`: namespace, type and health status."""

    namespace: str
    type: ProcessType
    health_status: HealthStatus


def living(txn: Txn, environment: Environment, alive: Callable[[Iterable[Owner]], set[Owner]]) -> Counter[Group]:
    """The number of living entries in each group. `alive` returns those of some owners that are alive."""
    found: Counter[Group] = Counter()
    for namespace in _namespaces(txn, environment):
        found += _stored_in(txn, environment, namespace)
    owners = snapshot.owners(txn, environment)
    for owner in set(owners) - alive(owners):
        for entry in snapshot.entries_of(txn, environment, owner):
            found[Group(entry.process_id.namespace, entry.metadata.type, entry.metadata.health_status)] -= 1
    return +found


def _namespaces(txn: Txn, environment: Environment) -> list[str]:
    with txn.cursor(environment.tables["by_health"]) as cursor:
        keys = cursor.iternext_nodup(keys=True, values=False)
        return list(dict.fromkeys(key.partition(b"\0")[0].decode() for key in keys))


def _stored_in(txn: Txn, environment: Environment, namespace: str) -> Counter[Group]:
    def rows(table: str, value: str) -> int:
        return snapshot.rows_under(txn, environment, table, index_key(namespace, value))

    types = {type: rows("by_type", type) for type in ProcessType}
    rarest_first = sorted(HealthStatus, key=lambda status: rows("by_health", status))
    found: Counter[Group] = Counter()
    with (
        txn.cursor(environment.tables["by_health"]) as by_health,
        txn.cursor(environment.tables["by_type"]) as by_type,
    ):
        for status in rarest_first[:-1]:
            if not by_health.set_key(index_key(namespace, status)):
                continue
            for row in by_health.iternext_dup():
                type = next(type for type in ProcessType if by_type.set_key_dup(index_key(namespace, type), row))
                found[Group(namespace, type, status)] += 1
                types[type] -= 1
    found.update({Group(namespace, type, rarest_first[-1]): left for type, left in types.items() if left})
    return found
