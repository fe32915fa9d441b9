"""Metrics of a registry that is part of a cluster. The bridge is the test's own."""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator

import msgspec
import pytest

pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

import adsum
from adsum import Registry, admin_cluster
from adsum._client import bridge_status, cluster
from adsum.telemetry.prometheus import Collector
from tests.cluster.bridging import Bridge, remote

STATUS = bridge_status.BridgeStatus(1, "etcd://a/prod", "rack", 10.0, "1", "", "a:2379", 7, 9, 1, 42, 1, [])


@pytest.fixture
def joined(registry: Registry) -> Iterator[Registry]:
    """A registry of a cluster with a member, and a bridge that has written 42 changes: this process has its lock."""
    registry.register("own")
    admin_cluster.join(registry.folder, "etcd://127.0.0.1:1/prod")
    lock = os.open(registry.folder / cluster.LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    bridge_status.write(registry.folder, msgspec.structs.replace(STATUS, pid=os.getpid()))
    yield registry
    os.close(lock)


def values(registry: Registry) -> dict[str, float]:
    """The samples of a collection that are about the cluster, by name."""
    page = CollectorRegistry()
    page.register(Collector(registry))
    return {
        sample.name: sample.value
        for family in page.collect()
        for sample in family.samples
        if sample.name.startswith(("adsum_cluster", "adsum_bridge"))
    }


def test_a_registry_without_a_cluster_has_none_of_them(registry: Registry) -> None:
    """No alert about clusters can be raised for a registry that is part of none."""
    registry.register("own")
    assert values(registry) == {}


def test_the_cluster_in_numbers(joined: Registry) -> None:
    """Hosts, those that cannot be reached, their entries, how far the bridge is, and what it has written."""
    bridge = Bridge(joined)
    bridge.host("here", host="host-b")
    bridge.put(remote("one"), remote("two"))
    bridge.host("unreachable", host="host-c")
    board = joined._client.board
    board.attach()
    board.hosts.note_progress(published=1, applied=9, vouched=0)
    found = values(joined)
    assert 0 <= found.pop("adsum_cluster_heard_seconds") < 30
    assert found == {
        "adsum_cluster_connected": 1,
        "adsum_cluster_lag": joined.stats().revision - 1,
        "adsum_cluster_hosts": 2,
        "adsum_cluster_unreachable_hosts": 1,
        "adsum_cluster_entries": 2,
        "adsum_bridge_up": 1,
        "adsum_bridge_writes_total": 42,
    }
    bridge.hear(ago=100.0)
    found = values(joined)
    assert (found["adsum_cluster_connected"], found["adsum_cluster_unreachable_hosts"]) == (0, 2)
    assert found["adsum_cluster_heard_seconds"] >= 100


def test_a_bridge_that_is_gone_is_seen(registry: Registry) -> None:
    """Without a bridge the registry is still part of a cluster, and the metrics say so."""
    registry.register("own")
    admin_cluster.join(registry.folder, "etcd://127.0.0.1:1/prod")
    bridge_status.write(registry.folder, STATUS)
    found = values(registry)
    assert (found["adsum_bridge_up"], found["adsum_bridge_writes_total"], found["adsum_cluster_connected"]) == (0, 0, 0)
    assert found["adsum_cluster_heard_seconds"] == math.inf


def test_opentelemetry_has_the_same(joined: Registry) -> None:
    """The same numbers are gauges of OpenTelemetry."""
    Bridge(joined).host("unreachable")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrumentation = adsum.telemetry.otel.instrument(joined, provider)
    try:
        data = reader.get_metrics_data()
        assert data is not None
        found = {
            metric.name: metric.data.data_points[0].value  # type: ignore[union-attr]
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            if metric.name.startswith(("adsum.cluster", "adsum.bridge"))
        }
    finally:
        instrumentation.uninstrument()
        provider.shutdown()
    assert found.pop("adsum.cluster.heard") < 30
    assert found.pop("adsum.cluster.lag") >= 0
    assert found == {
        "adsum.cluster.connected": 1,
        "adsum.cluster.hosts": 1,
        "adsum.cluster.unreachable": 1,
        "adsum.cluster.entries": 0,
        "adsum.bridge.up": 1,
        "adsum.bridge.writes": 42,
    }
