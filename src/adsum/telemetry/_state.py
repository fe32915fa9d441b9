"""What both OpenTelemetry and Prometheus are shown of a registry, and how many names they are shown at most."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from .._reads import RegistryReads
from .._store.census import Group
from ..model import Stats

OTHER = "other"
MAX_NAMESPACES = 50


class State(NamedTuple):
    """A registry at a moment: its numbers, and how many living entries there are of each kind."""

    stats: Stats
    entries: Counter[Group]


class Namespaces:
    """The first `most` namespaces by their own names, all others as ``other``: what once had its name keeps it."""

    def __init__(self, most: int = MAX_NAMESPACES) -> None:
        if most < 0:
            raise ValueError(f"max_namespaces={most!r}: give a number from 0 up")
        self._most = most
        self._named: set[str] = set()
        self._lock = threading.Lock()

    def name(self, namespace: str) -> str:
        if namespace in self._named:
            return namespace
        with self._lock:
            if len(self._named) >= self._most and namespace not in self._named:
                return OTHER
            self._named.add(namespace)
        return namespace


def state_of(registry: RegistryReads, namespaces: Namespaces) -> State:
    """Errors: those of reading, `RegistryClosed` included."""
    counted: Counter[Group] = Counter()
    # The largest first: when there are too many at once, those are the ones to have names.
    census = registry._reader.census()
    sizes: Counter[str] = Counter()
    for kin, number in census.items():
        sizes[kin.namespace] += number
    for namespace, _ in sizes.most_common():
        namespaces.name(namespace)
    for kin, number in census.items():
        counted[kin._replace(namespace=namespaces.name(kin.namespace))] += number
    return State(registry.stats(), counted)
