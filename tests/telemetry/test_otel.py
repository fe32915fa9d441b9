"""OpenTelemetry metrics of real registries, read with the SDK's in-memory reader."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk.metrics", reason="the extra otel is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

import adsum
from adsum import Registry
from adsum.telemetry import _dispatch, otel
from adsum.telemetry.otel import Instrumentation, instrument
from tests.support import Opener, eventually, kill_registrar, stopped

DOCUMENTED = dict(re.findall(r"^(adsum\.[\w.]+) +(?:histogram|counter|gauge) +(\S+)", otel.__doc__ or "", re.MULTILINE))


class Metrics:
    """A meter provider, and its collected metrics."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        scopes = [] if data is None else [scope for part in data.resource_metrics for scope in part.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str, **attributes: str) -> list[Any]:
        """The data points of a metric with these attributes, with ``_`` for ``.`` in their names."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}.items()
        metric = self.collect().get(name)
        return [point for point in metric.data.data_points if wanted <= point.attributes.items()] if metric else []

    def value(self, name: str, **attributes: str) -> Any:
        (point,) = self.points(name, **attributes)
        return point.value


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics()
    yield metrics
    metrics.provider.shutdown()


@pytest.fixture
def instrumented(either: Registry, metrics: Metrics) -> Iterator[Registry]:
    instrumentation = _instrument(either, metrics)
    yield either
    instrumentation.uninstrument()


def _instrument(registry: Any, metrics: Metrics, **options: Any) -> Instrumentation:
    # An asynchronous one is wrapped by the fixture.
    return instrument(getattr(registry, "inner", registry), metrics.provider, **options)


def test_durations(instrumented: Registry, metrics: Metrics) -> None:
    """Each call is in one histogram of seconds, by call and namespace, and by the error's reason if it failed."""
    instrumented.register("a")
    with pytest.raises(adsum.AlreadyRegistered):
        instrumented.register("a")
    instrumented.lookup("a")
    instrumented.lookup("b")
    (lookups,) = metrics.points("adsum.call.duration", adsum__call="lookup")
    assert isinstance(lookups, HistogramDataPoint)
    assert lookups.count == 2
    assert 0 < lookups.sum < 10
    assert lookups.explicit_bounds[0] == 1e-6
    assert lookups.attributes == {
        "adsum.registry": str(instrumented.folder),
        "adsum.namespace": "default",
        "adsum.call": "lookup",
    }
    (failed,) = metrics.points("adsum.call.duration", error__type="already_registered")
    assert failed.count == 1
    assert len(metrics.points("adsum.call.duration", adsum__call="register")) == 2


def test_counters(instrumented: Registry, metrics: Metrics) -> None:
    """Registered, removed and found entries are counted, and so are refusals, by reason."""
    instrumented.register_many([("a", {}), ("b", {})])
    instrumented.get_or_register("a")
    instrumented.find()
    instrumented.unregister("a")
    instrumented.unregister("nobody")
    with pytest.raises(adsum.NotRegistered):
        instrumented.update("nobody", custom={})
    assert metrics.value("adsum.entry.registered") == 2
    assert metrics.value("adsum.entry.unregistered") == 1
    assert metrics.value("adsum.entry.found") == 2
    assert metrics.value("adsum.call.rejected", error__type="not_registered", adsum__call="update") == 1


def test_timeouts(instrumented: Registry, metrics: Metrics) -> None:
    """Calls that timed out are counted separately from refusals."""
    instrumented.register("a")
    with stopped(instrumented.folder), pytest.raises(adsum.Timeout):
        instrumented.update("a", custom={}, timeout=0.05)
    eventually(lambda: metrics.points("adsum.call.timeout"))
    assert metrics.value("adsum.call.timeout", adsum__call="update", error__type="timeout") == 1
    assert metrics.points("adsum.call.rejected") == []


def test_deaths_and_registrars(instrumented: Registry, metrics: Metrics) -> None:
    """Deaths are counted by type, with a histogram of detection latency; registrars are counted at start and stop."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        instrumented.register("a", process, type="service")
        process.kill()
    eventually(lambda: metrics.points("adsum.entry.died"))
    assert metrics.value("adsum.entry.died", adsum__type="service", adsum__health_status="healthy") == 1
    (detection,) = metrics.points("adsum.death.detection")
    assert detection.count == 1
    kill_registrar(instrumented.folder)
    eventually(lambda: [point.value for point in metrics.points("adsum.registrar.started")] == [2])
    assert metrics.value("adsum.registrar.stopped") == 1


def test_gauges(instrumented: Registry, metrics: Metrics) -> None:
    """Gauges are read from the registry at each collection: entries by type and health, bytes, queue, registrar."""
    instrumented.register_many([("a", {}), ("b", {}), ("c", {"type": "service", "health_status": "unhealthy"})])
    collected = {
        (point.attributes["adsum.type"], point.attributes["adsum.health_status"]): point.value
        for point in metrics.points("adsum.entry.count", adsum__namespace="default")
    }
    assert collected == {("agent", "healthy"): 2, ("service", "unhealthy"): 1}
    assert metrics.value("adsum.owner.count") == 1
    stats = instrumented.stats()
    assert metrics.value("adsum.memory.usage") == stats.bytes_used
    assert metrics.value("adsum.memory.limit") == stats.bytes_limit
    assert metrics.value("adsum.request.pending") == stats.pending
    assert 0 < metrics.value("adsum.registrar.uptime") <= instrumented.stats().uptime
    instrumented.update_health("a", "degraded")
    assert metrics.value("adsum.entry.count", adsum__health_status="degraded") == 1


def test_names_and_units_are_those_documented(instrumented: Registry, metrics: Metrics) -> None:
    """Every collected metric is documented with its unit; names contain no unit."""
    instrumented.register("a")
    collected = metrics.collect()
    assert collected
    assert {name: metric.unit for name, metric in collected.items()}.items() <= DOCUMENTED.items()
    assert not [name for name in DOCUMENTED if re.search(r"seconds|bytes|_", name)]


def test_uninstrument(either: Registry, metrics: Metrics) -> None:
    """After `uninstrument` no metrics are collected and no handler is attached; `instrument` works again."""
    first = _instrument(either, metrics)
    either.register("a")
    first.uninstrument()
    first.uninstrument()
    assert _dispatch._attached == []
    either.lookup("a")
    assert metrics.points("adsum.call.duration", adsum__call="lookup") == []
    assert metrics.points("adsum.owner.count") == []
    second = _instrument(either, metrics)
    either.lookup("a")
    assert metrics.value("adsum.owner.count") == 1
    assert len(metrics.points("adsum.call.duration", adsum__call="lookup")) == 1
    second.uninstrument()


def test_one_folder_is_instrumented_once(registry: Registry, metrics: Metrics) -> None:
    """Instrumenting a folder twice for one provider is an error, because its calls would count twice."""
    instrumentation = _instrument(registry, metrics)
    with pytest.raises(ValueError, match="already"):
        _instrument(registry, metrics)
    other = Metrics()
    _instrument(registry, other).uninstrument()
    other.provider.shutdown()
    instrumentation.uninstrument()


def test_two_registries_are_told_apart(opener: Opener, metrics: Metrics) -> None:
    """Two registries measured with one provider share the metrics and differ in `adsum.registry`."""
    first = opener()
    second = opener(path=first.folder.with_name("second"))
    instrumentations = [_instrument(first, metrics), _instrument(second, metrics)]
    first.register_many([("a", {}), ("b", {})])
    second.register("c")
    assert metrics.value("adsum.entry.registered", adsum__registry=str(first.folder)) == 2
    assert metrics.value("adsum.entry.registered", adsum__registry=str(second.folder)) == 1
    assert metrics.value("adsum.entry.count", adsum__registry=str(second.folder)) == 1
    for instrumentation in instrumentations:
        instrumentation.uninstrument()


def test_namespaces_are_bounded(registry: Registry, metrics: Metrics) -> None:
    """Only the first namespaces up to the limit have their own label, in calls and gauges; the others are `other`."""
    instrumentation = _instrument(registry, metrics, max_namespaces=2)
    for number in range(5):
        registry.register((f"space-{number}", "n", "a"))
    namespaces = {point.attributes["adsum.namespace"] for point in metrics.points("adsum.entry.registered")}
    assert namespaces == {"space-0", "space-1", "other"}
    assert metrics.value("adsum.entry.count", adsum__namespace="other") == 3
    instrumentation.uninstrument()
    with pytest.raises(ValueError, match="from 0 up"):
        _instrument(registry, metrics, max_namespaces=-1)


def test_a_closed_registry_has_no_gauges(opener: Opener, metrics: Metrics) -> None:
    """Collection continues without error after a registry was closed."""
    registry = opener()
    instrumentation = _instrument(registry, metrics)
    registry.register("a")
    registry.close()
    assert metrics.points("adsum.owner.count") == []
    assert metrics.value("adsum.entry.registered") == 1
    instrumentation.uninstrument()


_EXPORTED_AT_EXIT = """
import sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))
import adsum, adsum.telemetry.otel
registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("a")
adsum.telemetry.otel.instrument(registry)
registry.lookup("a")
"""


def test_the_last_metrics_are_exported_at_exit(registry: Registry) -> None:
    """With OpenTelemetry's defaults, which export when the program ends, it ends soon, and the last metrics are there.
    An export that cannot be finished would take 30 s."""
    command = [sys.executable, "-c", _EXPORTED_AT_EXIT, str(registry.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"adsum.entry.count"' in done.stdout
    assert '"adsum.call.duration"' in done.stdout
