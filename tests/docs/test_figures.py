"""The published figures keep what their own rows promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/guarantees.md", "docs/cluster-figures.md")
_ROW = re.compile(r"^\| ([^|]*) \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
_TARGET = re.compile(r"(?:(?P<percentile>p50|p99) )?(?P<sign><|<=|>=) (?P<value>.+)")
_UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "times": 1.0, "/s": 1.0, "B": 1.0, "MB": 1.0}
_UNITS |= dict.fromkeys(("cores", "entries", "writes"), 1.0)


def _number(text: str) -> float:
    value, unit = text.split()
    return float(value.replace(",", "")) * _UNITS[unit]


def _rows(page: str) -> list[tuple[str, str, str]]:
    table = re.search(r"<!-- figures:begin -->\n(.*?)<!-- figures:end -->", (ROOT / page).read_text(), re.DOTALL)
    assert table is not None
    return [(what, target, measured) for _, what, target, measured in _ROW.findall(table[1])[2:]]


@pytest.mark.parametrize("page", PAGES)
def test_no_row_breaks_its_promise(page: str) -> None:
    """A target says for which percentile it is meant, and the measured one keeps it."""
    broken = []
    for what, target, measured in _rows(page):
        if (promised := _TARGET.fullmatch(target)) is None or measured == "not measured":
            continue
        values = measured.split(" · ")
        assert (promised["percentile"] is None) == (len(values) == 1), f"{what}: which percentile?"
        value = _number(values[{None: 0, "p50": 0, "p99": 1}[promised["percentile"]]])
        bound = _number(promised["value"] if " " in promised["value"] else f"{promised['value']} times")
        kept = {"<": value < bound, "<=": value <= bound, ">=": value >= bound}[promised["sign"]]
        if not kept:
            broken.append(f"{what}: {target}, measured {measured}")
    assert not broken
