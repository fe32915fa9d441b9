"""What OpenTelemetry and Prometheus have in common: the state of a registry, the bound on names, histogram edges."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from .._os.locks import locked
from .._reads import RegistryReads
from .._store.census import Group
from ..model import Stats

# The edges of histograms, in seconds: a lookup takes a microsecond, a registration a millisecond, the start of a
# registrar a tenth of a second.
EDGES = (
    1e-6,
    2.5e-6,
    5e-6,
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    0.01,
    0.05,
    0.1,
    0.5,
    1,
    5,
    10,
)
# In Prometheus each edge is a time series of its own, for each registry, call and outcome. So there are fewer.
PROMETHEUS_EDGES = tuple(edge for edge in EDGES if edge not in (2.5e-5, 2.5e-4, 2.5e-3))

OTHER = "other"
MAX_NAMESPACES = 50


class State(NamedTuple):
    """A registry at a moment: its numbers, and how many living entries there are of each kind."""

    stats: Stats
    entries: Counter[Group]


class Namespaces:
    """The names of namespaces in metrics: the first `most` keep their own, all others are ``other``."""

    def __init__(self, most: int = MAX_NAMESPACES) -> None:
        if most < 0:
            raise ValueError(f"max_namespaces={most!r}: give a number from 0 up")
        self._most = most
        self._named: set[str] = set()
        self._lock = threading.RLock()

    def name(self, namespace: str) -> str:
        return namespace if namespace in self._named else self._name(namespace)

    @locked
    def _name(self, namespace: str) -> str:
        if len(self._named) >= self._most and namespace not in self._named:
            return OTHER
        self._named.add(namespace)
        return namespace


def state_of(registry: RegistryReads, namespaces: Namespaces) -> State:
    """Read the state of a registry now. Errors: those of a read, `RegistryClosed` included."""
    counted: Counter[Group] = Counter()
    # The largest first, so that they have names when there are too many.
    census = registry._reader.census()
    sizes: Counter[str] = Counter()
    for group, number in census.items():
        sizes[group.namespace] += number
    for namespace, _ in sizes.most_common():
        namespaces.name(namespace)
    for group, number in census.items():
        counted[group._replace(namespace=namespaces.name(group.namespace))] += number
    return State(registry.stats(), counted)
