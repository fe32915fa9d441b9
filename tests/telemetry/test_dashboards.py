"""The dashboard and the alert rules speak of metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")

from prometheus_client.core import HistogramMetricFamily

from adsum import Registry
from adsum.telemetry.prometheus import Collector

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "contrib" / "grafana" / "adsum.json"
ALERTS = ROOT / "contrib" / "prometheus" / "alerts.yml"
PAGE = ROOT / "docs" / "how-to" / "telemetry.md"
NAME = re.compile(r"\badsum_[a-z0-9_]+\b")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"|by \(([\w, ]+)\)")


@pytest.fixture
def names(registry: Registry) -> dict[str, set[str]]:
    """Each name that a query can use, with the labels of its samples."""
    collector = Collector(registry, calls=True)
    try:
        found = {}
        for family in collector.describe():
            labels = set(family._labelnames)  # type: ignore[attr-defined]
            if isinstance(family, HistogramMetricFamily):
                found[f"{family.name}_bucket"] = labels | {"le"}
                found[f"{family.name}_sum"] = found[f"{family.name}_count"] = labels
            else:
                found[family.name + "_total" * (family.type == "counter")] = labels
        return found
    finally:
        collector.close()


def _values(document: Any, key: str) -> list[str]:
    """Every value of `key`, however deep."""
    if isinstance(document, dict):
        own = [value for name, value in document.items() if name == key and isinstance(value, str)]
        return own + [found for value in document.values() for found in _values(value, key)]
    return [found for value in document for found in _values(value, key)] if isinstance(document, list) else []


def _dashboard_queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    return _values(dashboard["panels"], "expr") + _values(dashboard["templating"], "definition")


def _alert_queries() -> list[str]:
    return re.findall(r"^\s+expr: (?:\|\n)?((?:.+\n?)(?:^\s{12,}.+\n)*)", ALERTS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("query", _dashboard_queries() + _alert_queries())
def test_queries_use_names_and_labels_that_there_are(query: str, names: dict[str, set[str]]) -> None:
    """Every metric that a panel or a rule asks for is collected, and has the labels that it is asked by."""
    used = set(NAME.findall(query))
    assert used
    assert used <= names.keys()
    labels = {label.strip() for one, several in LABEL.findall(query) for label in (one or several).split(",")}
    assert labels - {"job", "instance"} <= set().union(*(names[name] for name in used))
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")


def test_every_metric_is_shown(names: dict[str, set[str]]) -> None:
    """The dashboard shows every metric, or an alert watches it."""
    used = {name for query in _dashboard_queries() + _alert_queries() for name in NAME.findall(query)}
    of_histogram = {name for name in names if name.startswith("adsum_call_duration_seconds")}
    assert names.keys() - of_histogram <= used
    assert used & of_histogram


def test_the_dashboard_is_whole() -> None:
    """Panels have titles of their own, do not overlap, and take their data from the source that is chosen."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles) > 5
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)


def test_alerts_say_what_to_do() -> None:
    """Each rule has a name, a severity, and annotations that say what happened and what to do next."""
    rules = ALERTS.read_text().split("- alert: ")[1:]
    assert len(rules) >= 5
    for rule in rules:
        assert re.match(r"Adsum\w+\n", rule)
        for part in ("severity:", "summary:", "description:", "for:"):
            assert part in rule


def test_the_page_names_every_alert() -> None:
    """The documentation says of each alert what it means."""
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    assert [alert for alert in alerts if f"`{alert}`" not in PAGE.read_text()] == []
