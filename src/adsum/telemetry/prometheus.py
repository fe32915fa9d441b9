"""Prometheus metrics of a registry. Needs the extra: ``pip install 'adsum[prometheus]'``.

    prometheus_client.REGISTRY.register(adsum.telemetry.prometheus.Collector(registry))

========================================  =========  =================================================
metric                                    type       labels besides ``registry``
========================================  =========  =================================================
adsum_up                                  gauge
adsum_entries                             gauge      namespace, type, health_status
adsum_gauge_members                       gauge      namespace, gauge: its name
adsum_gauge_sum                           gauge      namespace, gauge
adsum_gauge_max                           gauge      namespace, gauge
adsum_owners                              gauge
adsum_unwatched_owners                    gauge
adsum_changes_total                       counter
adsum_memory_used_bytes                   gauge
adsum_memory_limit_bytes                  gauge
adsum_requests_total                      counter    outcome: ok, or the reason of the error
adsum_requests_pending                    gauge
adsum_cleanup_latency_seconds             summary    quantile: 0.5, 0.99, 1
adsum_registrar_up                        gauge
adsum_registrar_uptime_seconds            gauge
adsum_registrar_restarts_total            counter
adsum_cluster_connected                   gauge
adsum_cluster_lag                         gauge
adsum_cluster_heard_seconds               gauge
adsum_cluster_hosts                       gauge
adsum_cluster_unreachable_hosts           gauge
adsum_cluster_entries                     gauge
adsum_bridge_up                           gauge
adsum_bridge_writes_total                 counter
adsum_call_duration_seconds               histogram  call, outcome: ok, or the reason of the error
========================================  =========  =================================================

The metrics of the cluster and the bridge are there where the registry is part of a cluster. All but the last concern
the whole registry, whichever process exports them, and are read when they are collected. So one process of a machine is
enough, such as ``adsum metrics``. The last concerns this process's own calls, and is exported only with ``calls=True``.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator

from .._os.locks import locked
from .._reads import RegistryReads
from ..errors import AdsumError
from . import attach, detach
from ._dispatch import (
    CLAIM,
    FIND,
    LOOKUP,
    REGISTER,
    REJECTED,
    RELEASE,
    TIMEOUT,
    UNREGISTER,
    UPDATE,
    Attributes,
    Measurements,
    logger,
)
from ._state import MAX_NAMESPACES, PROMETHEUS_EDGES, MetricNames, State, state_of

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
        SummaryMetricFamily,
    )
    from prometheus_client.registry import Collector as _Collector
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"prometheus_client is not installed ({missing}); run: pip install 'adsum[prometheus]'", name=missing.name
    ) from missing


class Collector(_Collector):
    """A collector of `prometheus_client` for one or more registries; register it with a `CollectorRegistry`.

    - `registries`: each a `Registry` or `AsyncRegistry`, which must stay open; the label `registry` has its folder. A
      registry that does not exist, or cannot be read, has ``adsum_up`` 0 and no other metric.
    - `calls`: whether to export ``adsum_call_duration_seconds``, of the calls that this process makes on these folders.
      They are measured until `close`, which costs a few microseconds each.
    - `max_namespaces`: the first so many namespaces keep their names as label `namespace`; all others are ``other``.

    Errors: `TypeError` without a registry; `ValueError` for an impossible `max_namespaces`.

    >>> collector = adsum.telemetry.prometheus.Collector(registry)
    >>> [metric.name for metric in collector.collect()][:2]
    ['adsum_up', 'adsum_entries']
    """

    def __init__(self, *registries: RegistryReads, calls: bool = False, max_namespaces: int = MAX_NAMESPACES) -> None:
        if not registries:
            raise TypeError("give a registry to collect from")
        self._registries = {str(registry.folder): registry for registry in registries}
        self._names = MetricNames(max_namespaces)
        self._durations: _Durations | None = None
        if calls:
            self._durations = _Durations(frozenset(self._registries))
            attach(self._durations.record, _Durations.EVENTS)

    def close(self) -> None:
        """Stop measuring calls. Calling it twice is fine.

        >>> collector = adsum.telemetry.prometheus.Collector(registry, calls=True)
        >>> collector.close()
        """
        if self._durations is not None:
            detach(self._durations.record)

    def describe(self) -> Iterator[Metric]:
        """The metrics without values, so that registering the collector reads no tables.

        >>> collector = adsum.telemetry.prometheus.Collector(registry)
        >>> [metric.samples for metric in collector.describe()][:2]
        [[], []]
        """
        yield from _Families().all(calls=self._durations is not None)

    def collect(self) -> Iterator[Metric]:
        """The metrics with their present values.

        >>> registration = registry.register("planner-1")
        >>> collector = adsum.telemetry.prometheus.Collector(registry)
        >>> [metric.samples[0].value == 1 for metric in collector.collect() if metric.name == "adsum_up"]
        [True]
        """
        families = _Families()
        for folder, registry in self._registries.items():
            state = None
            try:
                state = state_of(registry, self._names)
            except AdsumError as error:
                # The page has other metrics too, and must not fail for these.
                logger.warning("cannot read %s: %s", folder, error, extra={"registry": folder, "reason": error.reason})
            families.up.add_metric([folder], state is not None)
            if state is not None:
                families.add(folder, state)
        if self._durations is not None:
            self._durations.add_to(families.durations)
        yield from families.all(calls=self._durations is not None)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("registry", *labels))


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=("registry", *labels))


class _Families:
    """One collection."""

    def __init__(self) -> None:
        self.up = _gauge("adsum_up", "Whether there is a registry, and it can be read.")
        self._entries = _gauge("adsum_entries", "Living entries.", "namespace", "type", "health_status")
        self._gauges = {
            what: _gauge(f"adsum_gauge_{what}", text, "namespace", "gauge") for what, text in _GAUGES.items()
        }
        self._outcomes = _counter("adsum_requests", "Requests to the registrar, by outcome.", "outcome")
        self._latency = SummaryMetricFamily(
            "adsum_cleanup_latency_seconds",
            "From the kernel's word of a death to the end of its entries, over the last 1,000 deaths.",
            labels=("registry", "quantile"),
        )
        self._plain = {
            name: (_counter if name in _COUNTERS else _gauge)(f"adsum_{name}", text) for name, text in _PLAIN.items()
        }
        self.durations = HistogramMetricFamily(
            "adsum_call_duration_seconds", "Duration of this process's calls.", labels=("registry", "call", "outcome")
        )

    def all(self, *, calls: bool) -> Iterator[Metric]:
        yield from (
            self.up,
            self._entries,
            *self._gauges.values(),
            *self._plain.values(),
            self._outcomes,
            self._latency,
        )
        if calls:
            yield self.durations

    def add(self, folder: str, state: State) -> None:
        stats = state.stats
        plain: dict[str, float] = {
            "owners": stats.owners,
            "unwatched_owners": stats.unwatched_by_kernel,
            "changes": stats.revision,
            "memory_used_bytes": stats.bytes_used,
            "memory_limit_bytes": stats.bytes_limit,
            "requests_pending": stats.pending,
            "registrar_up": stats.registrar_pid is not None,
            "registrar_uptime_seconds": stats.uptime,
            "registrar_restarts": stats.restarts,
        }
        for name, value in plain.items():
            self._plain[name].add_metric([folder], value)
        if state.cluster is not None:
            for field, number in state.cluster._asdict().items():
                self._plain[_CLUSTER[field]].add_metric([folder], float(number))
        for group, number in sorted(state.entries.items()):
            self._entries.add_metric([folder, *group], number)
        for named, totals in sorted(state.gauges.items()):
            for what, value in zip(_GAUGES, totals, strict=True):
                self._gauges[what].add_metric([folder, *named], value)
        for outcome, number in sorted(stats.outcomes.items()):
            self._outcomes.add_metric([folder, outcome], number)
        latency = stats.cleanup_latency
        for quantile, seconds in (("0.5", latency.p50), ("0.99", latency.p99), ("1", latency.max)):
            self._latency.add_sample(self._latency.name, {"registry": folder, "quantile": quantile}, seconds)


# In the order of `GaugeTotals`.
_GAUGES = {
    "members": "Living members that have a gauge of this name.",
    "sum": "Sum of the present values of a gauge.",
    "max": "Largest of the present values of a gauge.",
}
# The metric of each field of `ClusterState`.
_CLUSTER = {
    "connected": "cluster_connected",
    "lag": "cluster_lag",
    "heard_seconds": "cluster_heard_seconds",
    "hosts": "cluster_hosts",
    "unreachable_hosts": "cluster_unreachable_hosts",
    "entries": "cluster_entries",
    "bridge_up": "bridge_up",
    "bridge_writes": "bridge_writes",
}
_COUNTERS = ("changes", "registrar_restarts", "bridge_writes")
_PLAIN = {
    "owners": "Processes that own entries.",
    "unwatched_owners": "Owners found by scanning, because the registrar ran out of descriptors.",
    "changes": "Changes since the registry was made.",
    "memory_used_bytes": "Table pages in use.",
    "memory_limit_bytes": "Table pages that may be in use.",
    "requests_pending": "Requests that waited in the registrar when last looked.",
    "registrar_up": "Whether a registrar runs.",
    "registrar_uptime_seconds": "Age of the registrar; 0 where none runs.",
    "registrar_restarts": "How often a registrar took over from one that died.",
    "cluster_connected": "Whether the bridge has heard from the cluster within its time to live.",
    "cluster_lag": "Changes of the registry since the last one of which all before are published.",
    "cluster_heard_seconds": "Seconds since the bridge last heard from the cluster.",
    "cluster_hosts": "Other hosts of the cluster that are known here.",
    "cluster_unreachable_hosts": "Other hosts that cannot be reached.",
    "cluster_entries": "Entries of other hosts in the tables here.",
    "bridge_up": "Whether a bridge runs.",
    "bridge_writes": "Changes of entries that the bridge has written to etcd since it started.",
}


class _Durations:
    """A histogram of calls, by registry, call and outcome."""

    EVENTS = (REGISTER, LOOKUP, FIND, UPDATE, UNREGISTER, CLAIM, RELEASE, REJECTED, TIMEOUT)

    def __init__(self, folders: frozenset[str]) -> None:
        self._folders = folders
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._sums: dict[tuple[str, str, str], float] = {}

    def record(self, _: str, measurements: Measurements, attributes: Attributes) -> None:
        """The handler."""
        if attributes["registry"] not in self._folders or "duration" not in measurements:
            return
        seconds = measurements["duration"]
        key = attributes["registry"], attributes["call"], attributes.get("reason", "ok")
        self._add(key, seconds)

    @locked
    def _add(self, key: tuple[str, str, str], seconds: float) -> None:
        counts = self._counts.setdefault(key, [0] * (len(PROMETHEUS_EDGES) + 1))
        counts[bisect.bisect_left(PROMETHEUS_EDGES, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + seconds

    @locked
    def _taken(self) -> list[tuple[tuple[str, str, str], list[int], float]]:
        return [(key, list(counts), self._sums[key]) for key, counts in sorted(self._counts.items())]

    def add_to(self, family: HistogramMetricFamily) -> None:
        for key, counts, total in self._taken():
            buckets = zip([*map(str, PROMETHEUS_EDGES), "+Inf"], itertools.accumulate(counts), strict=True)
            family.add_metric(list(key), [(bound, float(number)) for bound, number in buckets], total)
