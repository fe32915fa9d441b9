"""Prometheus metrics of real registries, as Prometheus' client library collects them."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import adsum
from adsum import Registry
from adsum.telemetry import _dispatch, prometheus
from adsum.telemetry.prometheus import Collector
from tests.support import Opener, eventually, kill_registrar

TYPE = r"(gauge|counter|histogram|summary)"
DOCUMENTED = dict(re.findall(rf"^(adsum_\w+) +{TYPE}", prometheus.__doc__ or "", re.MULTILINE))


class Page:
    """The page as a Prometheus server would read it."""

    def __init__(self, *registries: Any, **options: Any) -> None:
        self.collector = Collector(*(getattr(one, "inner", one) for one in registries), **options)
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def samples(self, name: str, **labels: str) -> list[Any]:
        families = text_string_to_metric_families(self.text())
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample for sample in found if labels.items() <= sample.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        (sample,) = self.samples(name, **labels)
        return float(sample.value)


def test_gauges_are_added_up(either: Registry) -> None:
    """The page has the present values of gauges, for each namespace and name, of the living members that have them."""
    busy = either.register("busy", gauges={"load": 1, "queue": 5})
    either.register("idle", gauges={"load": 0.25})
    either.register("without")
    either.register(("other", "n", "x"), gauges={"load": -7})
    page = Page(either)
    busy.gauges["load"] = 0.5
    gauged = {"gauge": "load", "namespace": "default"}
    assert [page.value(f"adsum_gauge_{what}", **gauged) for what in ("members", "sum", "max")] == [2, 0.75, 0.5]
    assert page.value("adsum_gauge_max", gauge="queue") == 5
    assert page.value("adsum_gauge_sum", namespace="other") == -7
    either.unregister("busy")
    assert page.value("adsum_gauge_sum", **gauged) == 0.25


def test_the_names_of_gauges_are_bounded(either: Registry) -> None:
    """The first 50 have their own series; all others are one."""
    for number in range(8):
        names = {f"g{number}-{place}": 1.0 for place in range(8)}
        either.register(f"w{number}", gauges=names)
    samples = Page(either).samples("adsum_gauge_members")
    assert len(samples) == 51
    assert {sample.labels["gauge"]: sample.value for sample in samples}["other"] == 14


def test_the_registry_in_numbers(either: Registry) -> None:
    """The page has the numbers of `stats`, in base units."""
    either.register("a")
    either.unregister("a")
    either.register("b")
    page, stats = Page(either), either.stats()
    assert page.value("adsum_up") == 1
    assert page.value("adsum_owners") == 1
    assert page.value("adsum_unwatched_owners") == 0
    assert page.value("adsum_changes_total") == 3
    assert page.value("adsum_memory_used_bytes") == stats.bytes_used
    assert page.value("adsum_memory_limit_bytes") == 100 * 1024 * 1024
    assert page.value("adsum_requests_pending") == stats.pending
    assert page.value("adsum_registrar_up") == 1
    assert 0 < page.value("adsum_registrar_uptime_seconds") <= either.stats().uptime
    assert page.value("adsum_registrar_restarts_total") == 0
    assert page.value("adsum_owners", registry=str(either.folder)) == 1


def test_what_the_registrar_counts(registry: Registry) -> None:
    """Outcomes of requests and cleanup latencies appear when the registrar has written them to the tables."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        registry.register("a", process)
        with pytest.raises(adsum.AlreadyRegistered):
            registry.register("a")
        process.kill()
    page = Page(registry)
    eventually(lambda: page.samples("adsum_requests_total", outcome="already_registered"))
    assert page.value("adsum_requests_total", outcome="already_registered") == 1
    assert page.value("adsum_requests_total", outcome="ok") >= 1
    assert (
        0
        < page.value("adsum_cleanup_latency_seconds", quantile="0.5")
        <= page.value("adsum_cleanup_latency_seconds", quantile="1")
    )


def test_entries_by_kind(either: Registry) -> None:
    """Living entries are counted by namespace, type and health, for every combination."""
    wanted: dict[tuple[str, str, str], int] = {}
    for number, kind in enumerate(
        (namespace, type, health)
        for namespace in ("one", "two")
        for type in ("agent", "service", "coordinator")
        for health in adsum.HealthStatus
    ):
        wanted[kind] = number % 4 + 1
        namespace, type, health = kind
        for copy in range(wanted[kind]):
            either.register((namespace, "n", f"{number}-{copy}"), type=type, health_status=health)
    found = {
        (labels["namespace"], labels["type"], labels["health_status"]): value
        for _, labels, value, *_ in Page(either).samples("adsum_entries")
    }
    assert found == wanted


def test_the_dead_are_not_counted(registry: Registry) -> None:
    """Entries of dead processes are not counted, even before they are cleaned up."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        registry.register_many([("a", {"type": "service"}), ("b", {})], process)
        registry.register("c")
        kill_registrar(registry.folder)
        process.kill()
    page = Page(registry)
    assert [(sample.labels["type"], sample.value) for sample in page.samples("adsum_entries")] == [("agent", 1)]
    assert page.value("adsum_registrar_up") == 0
    assert page.value("adsum_registrar_uptime_seconds") == 0


def test_reading_makes_nothing(registry: Registry) -> None:
    """A registry that does not exist has `adsum_up` 0 and no other metric, and collecting does not make it. One that is
    made later is up."""
    page = Page(registry)
    assert page.value("adsum_up") == 0
    for name in ("adsum_registrar_up", "adsum_owners", "adsum_entries", "adsum_memory_limit_bytes"):
        assert page.samples(name) == []
    assert not registry.folder.exists()
    registry.register("a")
    page = Page(registry)
    assert (page.value("adsum_up"), page.value("adsum_owners")) == (1, 1)
    assert _dispatch._attached == []


def test_namespaces_are_bounded(registry: Registry) -> None:
    """At most the limit of namespaces, the largest first, have a label of their own and keep it; the others are
    summed up as `other`."""
    for number in range(6):
        registry.register((f"space-{number}", "n", "a"))
    registry.register_many([(("large", "n", f"{number}"), {}) for number in range(3)])
    page = Page(registry, max_namespaces=2)
    first = {sample.labels["namespace"]: sample.value for sample in page.samples("adsum_entries")}
    assert first["large"] == 3
    assert first["other"] == 5
    assert len(first) == 3
    registry.register_many([(("larger", "n", f"{number}"), {}) for number in range(50)])
    later = {sample.labels["namespace"]: sample.value for sample in page.samples("adsum_entries")}
    assert later == {**first, "other": 55}
    with pytest.raises(ValueError, match="from 0 up"):
        Page(registry, max_namespaces=-1)


def test_strange_namespaces(registry: Registry) -> None:
    """A namespace with quotes, line breaks or other scripts is exported unchanged, and does not break the format."""
    strange = 'a"b\\c\nd=1} 5 ünïcode 名'
    registry.register((strange, "n", "a"))
    assert Page(registry).value("adsum_entries", namespace=strange) == 1


def test_a_closed_registry_is_down(opener: Opener) -> None:
    """After the registry was closed the page is still served, with `adsum_up` 0 and no other metric of it."""
    registry, other = opener(), opener()
    closed = opener(path=registry.folder.with_name("closed"))
    page = Page(other, closed)
    other.register("a")
    closed.close()
    assert page.value("adsum_up", registry=str(closed.folder)) == 0
    assert page.value("adsum_up", registry=str(other.folder)) == 1
    assert page.samples("adsum_owners", registry=str(closed.folder)) == []


def test_several_registries_in_one_page(opener: Opener) -> None:
    """A collector of several registries has each metric once, with the label `registry`."""
    first = opener()
    second = opener(path=first.folder.with_name("second"))
    first.register("a")
    second.register("b").unregister()
    page = Page(first, second)
    assert page.value("adsum_owners", registry=str(first.folder)) == 1
    assert page.value("adsum_owners", registry=str(second.folder)) == 0
    assert page.text().count("# TYPE adsum_owners ") == 1
    with pytest.raises(TypeError, match="give a registry"):
        Collector()


def test_registering_twice_is_an_error_of_prometheus(registry: Registry) -> None:
    """The collector declares its names, so that registering duplicates fails at once, not at the first scrape."""
    page = CollectorRegistry()
    page.register(Collector(registry))
    with pytest.raises(ValueError, match="Duplicated"):
        page.register(Collector(registry))


def test_calls_only_when_asked_for(either: Registry) -> None:
    """Without `calls` no handler is attached; with it, the page has durations of local calls, by call and outcome."""
    assert "adsum_call_duration" not in Page(either).text()
    assert _dispatch._attached == []
    page = Page(either, calls=True)
    either.register("a")
    with pytest.raises(adsum.AlreadyRegistered):
        either.register("a")
    for _ in range(3):
        either.lookup("a")
    name = "adsum_call_duration_seconds"
    eventually(lambda: page.samples(f"{name}_count", outcome="already_registered"))
    assert page.value(f"{name}_count", call="lookup", outcome="ok") == 3
    assert page.value(f"{name}_bucket", call="lookup", outcome="ok", le="+Inf") == 3
    assert page.value(f"{name}_count", call="register", outcome="ok") == 1
    assert page.value(f"{name}_count", call="register", outcome="already_registered") == 1
    assert 0 < page.value(f"{name}_sum", call="lookup", outcome="ok") < 10
    page.collector.close()
    page.collector.close()
    assert _dispatch._attached == []


def test_buckets_are_cumulative(registry: Registry) -> None:
    """Each bucket counts all calls up to its bound, as Prometheus requires."""
    page = Page(registry, calls=True)
    for _ in range(20):
        registry.lookup("a")
    counts = [sample.value for sample in page.samples("adsum_call_duration_seconds_bucket", call="lookup")]
    page.collector.close()
    assert counts == sorted(counts)
    assert counts[-1] == 20


def test_names_are_prometheus_names_and_documented(registry: Registry) -> None:
    """Every metric is documented with its type; names have the prefix, base units, and `_total` for counters."""
    registry.register("a")
    page = Page(registry, calls=True)
    registry.lookup("a")
    families = {family.name: family for family in text_string_to_metric_families(page.text())}
    page.collector.close()
    collected = {name + "_total" * (family.type == "counter"): family.type for name, family in families.items()}
    assert collected == DOCUMENTED
    assert all(family.documentation.endswith(".") for family in families.values())
    for name, type in collected.items():
        assert name.startswith("adsum_")
        assert name.endswith("_total") == (type == "counter")
        assert not re.search(r"_(ms|us|milliseconds|kb|mb|kib|mib|percent)\b", name)
