"""The figures in the documentation: ``table.py [--write]`` prints the tables made of ``results/*.json``, or writes them
into the pages, between the lines ``<!-- figures:begin -->`` and ``<!-- figures:end -->``.

A page shows a figure only if a benchmark measured it; a missing one says so.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import NamedTuple

from harness import RESULTS, Row

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- figures:begin -->\n).*?(<!-- figures:end -->)", re.DOTALL)
MISSING = "not measured"


class Figure(NamedTuple):
    """One line of a table: where its figure is in the results, and its wording.

    `where` must hold of the row; a text holds of every text that begins with it. `field` is the beginning of a
    column's name, or empty for the percentiles of a duration. `short` figures are in the README too.
    """

    promise: str
    what: str
    target: str
    file: str
    rows: str
    where: Row
    field: str = ""
    unit: str = ""
    short: bool = False


def _lookup(what: str, label: str, entries: int, promise: str = "L2, P1", *, short: bool = False) -> Figure:
    return Figure(promise, what, "p99 < 1 ms", "lookup", "rows", {"lookup": label, "entries": entries}, short=short)


def _peer(what: str, label: str) -> Figure:
    return Figure("", what, "", "lookup", "peers", {"lookup": f"peer: {label}"})


def _find(what: str, label: str, *, short: bool = False) -> Figure:
    return Figure("P3", what, "p99 < 10 ms", "find", "rows", {"find": label, "entries": 100_000}, short=short)


def _write(promise: str, call: str, target: str, entries: int, *, short: bool = False) -> Figure:
    what = f"{call}, among {entries:,}"
    return Figure(promise, what, target, "register", "rows", {"call": call, "entries": entries}, short=short)


def _storm(what: str, label: str, promise: str = "", target: str = "", *, short: bool = False) -> Figure:
    where = {"together": label}
    return Figure(promise, what, target, "register", "together", where, "registrations/s", "/s", short)


def _death(promise: str, what: str, target: str, label: str) -> Figure:
    return Figure(promise, what, target, "death", "deaths", {"from SIGKILL to": label}, short=True)


def _mass(promise: str, what: str, target: str, field: str, unit: str, *, short: bool = False) -> Figure:
    return Figure(promise, f"1,000 processes killed at once: {what}", target, "death", "mass", {}, field, unit, short)


def _memory(what: str, target: str, shape: str, field: str, *, short: bool = False) -> Figure:
    return Figure("P4", what, target, "memory", "rows", {"entries of": shape}, field, "times", short)


def _event(what: str, target: str, watchers: int, pace: str, *, short: bool = False) -> Figure:
    return Figure("", what, target, "watch", "events", {"watchers": watchers, "a change each": pace}, short=short)


def _beside(what: str, how: str, watchers: int) -> Figure:
    return Figure("", what, "", "watch", "writes", {"register": how, "watchers": watchers})


def _cost(what: str, target: str, rows: str, where: Row, field: str, unit: str) -> Figure:
    return Figure("", what, target, "telemetry", rows, where, field, unit)


FIGURES = (
    _lookup("lookup among 10,000, any id, seen before", "any id, again", 10_000),
    _lookup("lookup among 100,000, any id, seen before", "any id, again", 100_000, short=True),
    _lookup("lookup among 100,000, any id, mostly for the first time", "any id, first", 100_000, short=True),
    _lookup("lookup among 100,000, always the same thousand ids", "1,000 favourites", 100_000),
    _lookup("the same, during 1,000 writes a second", "1,000 favourites, 1,000 writes", 100_000, "L2, P5"),
    _lookup("lookup of an absent id", "absent", 100_000),
    Figure(
        "P1",
        "a lookup among 100,000 against 10,000",
        "not kept: <= 1.5 times",
        "lookup",
        "",
        {},
        "ratio_any_id",
        "times",
    ),
    _peer("peer: a dict in the same process", "dict"),
    _peer("peer: SQLite, WAL, in memory", "SQLite"),
    _peer("peer: a dict behind a `multiprocessing` manager", "multiprocessing"),
    _find("find 1,000 members by capability, for the first time", "1,000 matches, a skill not", short=True),
    _find("find 1,000 members by capability, again", "1,000 matches, asked", short=True),
    _find("find 100 members by capability, again", "100 matches, asked"),
    _find("find 1,000 members by capability and health", "1,000 matches, capability"),
    _write("L1, P2", "register", "p99 < 5 ms", 10_000, short=True),
    _write("L1, P2", "register", "p99 < 5 ms", 100_000),
    _write("P2", "update_health", "p99 < 2 ms", 10_000, short=True),
    _write("P2", "update_health", "p99 < 2 ms", 100_000),
    _write("P2", "unregister", "", 100_000),
    _storm("8 processes register together, one in flight each", "register, one", short=True),
    _storm("8 processes register together, 64 in flight each", "register_nowait", "L4", ">= 20,000 /s", short=True),
    _death("S2", "from SIGKILL until no lookup finds the process", "once the kernel ended it", "lookup finds nothing"),
    _death("I6, L6", "from SIGKILL until the entry is removed", "p99 < 100 ms", "entry removed"),
    _mass("L3, P6", "removal of each", "< 2 ms", "each, us", "µs", short=True),
    _mass("L3", "until all are gone", "", "all gone after, ms", "ms"),
    Figure(
        "", "from SIGKILL of the registrar until the next write", "p99 < 100 ms", "death", "restarts", {}, short=True
    ),
    _event("from a commit until a watch in another process has the event", "p50 < 0.5 ms", 1, "50 ms", short=True),
    _event("the same, under a steady load of changes", "p50 < 0.5 ms", 1, "3 ms"),
    _event("the same, each of 500 watching processes", "p99 < 50 ms", 500, "200 ms", short=True),
    _beside("register now and then, without watches", "one each", 0),
    _beside("register now and then, with 500 watching processes", "one each", 500),
    _beside("register one after the other, without watches", "one after", 0),
    _beside("register one after the other, with 500 watching processes", "one after", 500),
    Figure(
        "",
        "from SIGKILL of a holder until its successor is found",
        "p50 < 5 ms",
        "watch",
        "successions",
        {},
        short=True,
    ),
    _cost(
        "a lookup that checks for a handler, against one that does not",
        "<= 1.02 times",
        "",
        {},
        "ratio",
        "times",
    ),
    _cost("register: what a handler of all its events adds", "< 100 µs", "rows", {"call": "register"}, "added", "µs"),
    _cost("lookup: what a handler of all its events adds", "< 50 µs", "rows", {"call": "lookup"}, "added", "µs"),
    _memory("memory in use / size of bare entries", "<= 2.0", "bare", "factor in use"),
    _memory("memory in use / size of small entries", "<= 2.0", "small", "factor in use", short=True),
    _memory("memory in use / size of large entries", "<= 2.0", "large", "factor in use"),
    _memory("file on tmpfs / size of small entries", "", "small", "factor of the file"),
    Figure("", "memory of a small registry's registrar", "< 30 MB", "memory", "registrar", {}, "all of it", "MB", True),
    Figure("P1", "lookup among 1,000,000, any id", "p99 < 1 ms", "large", "rows", {"call": "lookup, any"}),
    Figure("P3", "find 1,000 members among 1,000,000", "p99 < 10 ms", "large", "rows", {"call": "find"}),
)


def value_of(figure: Figure, results: dict[str, Row]) -> str:
    """The measured figure as text; of several rows the first counts."""
    found = results.get(figure.file, {})
    rows = found.get(figure.rows, []) if figure.rows else found
    for row in rows if isinstance(rows, list) else [rows]:
        if all(_holds(row.get(name), wanted) for name, wanted in figure.where.items()):
            if not figure.field:
                return " · ".join(_duration(row[part]) for part in ("p50", "p99", "max"))
            for name, value in row.items():
                if name.startswith(figure.field):
                    return f"{_number(value)} {figure.unit}"
    return MISSING


def _holds(value: object, wanted: object) -> bool:
    return value.startswith(wanted) if isinstance(value, str) and isinstance(wanted, str) else value == wanted


def _duration(microseconds: float) -> str:
    return f"{_number(microseconds)} µs" if microseconds < 1000 else f"{_number(microseconds / 1000)} ms"


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(results: dict[str, Row], *, short: bool) -> str:
    """The lines between the marks of a page."""
    lines = ["| promise | what was measured | promised | p50 · p99 · worst |", "| --- | --- | --- | --- |"]
    shown = [figure for figure in FIGURES if figure.short or not short]
    for figure in shown:
        cells = (figure.promise, figure.what, figure.target, value_of(figure, results))
        lines.append(f"| {' | '.join(cells)} |")
    used = {figure.file for figure in shown}
    return "\n".join([*lines, "", *_places({name: found for name, found in results.items() if name in used})])


def _places(results: dict[str, Row]) -> list[str]:
    """What the figures were measured on, once for each kind of place."""
    places: dict[str, list[str]] = {}
    for name, found in sorted(results.items()):
        said = dict(found["environment"])
        machine, kernel, python = said.pop("machine"), said.pop("kernel"), said.pop("python")
        versions = ", ".join(f"{package} {version}" for package, version in said.items())
        places.setdefault(f"{machine}, Linux {kernel}, CPython {python}, {versions}", []).append(name)
    if len(places) == 1:
        return [f"Measured by `make bench` on {place}." for place in places]
    return [f"Measured by `make bench` ({', '.join(names)}) on {place}." for place, names in places.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the pages instead of printing")
    arguments = parser.parse_args()
    results = {place.stem: json.loads(place.read_text()) for place in RESULTS.glob("*.json")}
    for page, short in ((ROOT / "README.md", True), (ROOT / "docs" / "guarantees.md", False)):
        made = table(results, short=short)
        if arguments.write:
            text = page.read_text()
            page.write_text(MARKED.sub(lambda marks, made=made: f"{marks[1]}{made}\n{marks[2]}", text))  # type: ignore[misc]
        else:
            print(f"{page.relative_to(ROOT)}\n\n{made}\n")


if __name__ == "__main__":
    main()
