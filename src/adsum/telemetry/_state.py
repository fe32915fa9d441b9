"""What OpenTelemetry and Prometheus have in common: the state of a registry, the bounds on names, histogram edges."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import NamedTuple

from .._client import cluster
from .._client.bridge_status import status_in
from .._os.locks import locked
from .._reads import RegistryReads
from .._store.census import Group
from .._store.query import ALL
from ..model import ClusterStats, Stats

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
MAX_GAUGES = 50


class GaugeGroup(NamedTuple):
    """The group key of gauges: namespace, and name of the gauge."""

    namespace: str
    gauge: str


class GaugeTotals(NamedTuple):
    """The present values of the gauges of a group: how many there are, their sum, and the largest."""

    members: int
    sum: float
    largest: float


class ClusterState(NamedTuple):
    """A registry's side of its cluster at a moment. `heard_seconds` is infinite where the cluster was never heard."""

    connected: bool
    lag: int
    heard_seconds: float
    hosts: int
    unreachable_hosts: int
    entries: int
    bridge_up: bool
    bridge_writes: int


class State(NamedTuple):
    """A registry at a moment: its numbers, how many living entries there are of each kind, their gauges, and the
    cluster; None where it is part of none."""

    stats: Stats
    entries: Counter[Group]
    gauges: dict[GaugeGroup, GaugeTotals]
    cluster: ClusterState | None


class MetricNames:
    """The names in metrics that programs choose: of namespaces, and of gauges. The first `most_namespaces`, and the
    first `MAX_GAUGES`, keep their own; all others are ``other``."""

    def __init__(self, most_namespaces: int = MAX_NAMESPACES) -> None:
        if most_namespaces < 0:
            raise ValueError(f"max_namespaces={most_namespaces!r}: give a number from 0 up")
        self.namespaces = _FirstNames(most_namespaces)
        self.gauges = _FirstNames(MAX_GAUGES)


class _FirstNames:
    def __init__(self, most: int) -> None:
        self._most = most
        self._named: set[str] = set()
        self._lock = threading.RLock()

    def name(self, name: str) -> str:
        return name if name in self._named else self._name(name)

    @locked
    def _name(self, name: str) -> str:
        if len(self._named) >= self._most and name not in self._named:
            return OTHER
        self._named.add(name)
        return name


def state_of(registry: RegistryReads, names: MetricNames) -> State | None:
    """Read the state of a registry now; None where there is none, for an absent registry is not an empty one. Errors:
    those of a read, `RegistryClosed` included."""
    if not registry._reader.registry_exists():
        return None
    namespaces = names.namespaces
    counted: Counter[Group] = Counter()
    # The largest first, so that they have names when there are too many.
    census = registry._reader.reports.census()
    sizes: Counter[str] = Counter()
    for group, number in census.items():
        sizes[group.namespace] += number
    for namespace, _ in sizes.most_common():
        namespaces.name(namespace)
    for group, number in census.items():
        counted[group._replace(namespace=namespaces.name(group.namespace))] += number
    stats = registry.stats()
    return State(stats, counted, _gauges_of(registry, names), _cluster_of(registry, stats.cluster))


def _cluster_of(registry: RegistryReads, known: ClusterStats | None) -> ClusterState | None:
    if cluster.joined(registry.folder) is None:
        return None
    is_up = cluster.running_bridge(registry.folder) is not None
    bridge = status_in(registry.folder) if is_up else None
    heard = None if known is None else known.heard
    return ClusterState(
        connected=known is not None and known.connected,
        lag=0 if known is None else known.lag,
        heard_seconds=math.inf if heard is None else heard,
        hosts=0 if known is None else known.hosts,
        unreachable_hosts=0 if known is None else known.unreachable,
        entries=0 if known is None else known.entries,
        bridge_up=is_up,
        bridge_writes=0 if bridge is None else bridge.writes,
    )


def _gauges_of(registry: RegistryReads, names: MetricNames) -> dict[GaugeGroup, GaugeTotals]:
    page = registry._reader.open_page
    found: dict[GaugeGroup, GaugeTotals] = {}
    if page is None or not page.board.rows.refresh():
        # No member has a row for gauges, so no entry has to be read.
        return found
    for entry in registry.list_all(ALL):
        for gauge, value in entry.gauges.items():
            group = GaugeGroup(names.namespaces.name(entry.process_id.namespace), names.gauges.name(gauge))
            known = found.get(group, GaugeTotals(0, 0.0, -math.inf))
            found[group] = GaugeTotals(known.members + 1, known.sum + value, max(known.largest, value))
    return found
