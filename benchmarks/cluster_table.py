"""What `make bench-cluster` measured, as a table: ``cluster_table.py [--write]`` prints the table made of
``results/cluster.json``, or writes it into its page, between the lines ``<!-- figures:begin -->`` and
``<!-- figures:end -->``. What was not measured says so.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import NamedTuple

from harness import RESULTS, Row
from table import MARKED, MISSING, ROOT, _duration, _number

# Of a new mirror, and after an outage.
_2S = "<= 2 s"
PAGE = ROOT / "docs" / "cluster-figures.md"
_TARGET = re.compile(r"(?:(?P<percentile>p50|p99) )?<= (?P<bound>.+)")
# Times are compared in seconds, other units as they are.
_FACTORS = {"µs": 1e-6, "ms": 1e-3}


class Line(NamedTuple):
    """One line: what was measured, what is promised, and the figure."""

    what: str
    target: str
    measured: str


def _found(rows: list[Row], **where: object) -> Row:
    """The first row with these values; a text holds of every text that begins with it. Empty where there is none."""
    for row in rows:
        if all(_holds(row.get(name), value) for name, value in where.items()):
            return row
    return {}


def _holds(value: object, wanted: object) -> bool:
    return value.startswith(wanted) if isinstance(value, str) and isinstance(wanted, str) else value == wanted


def _delays(row: Row) -> str:
    if not row:
        return MISSING
    return " · ".join(_duration(1000 * row[f"{part}, ms"]) for part in ("p50", "p99", "max"))


def _value(row: Row, field: str, unit: str) -> str:
    return f"{_number(row[field])} {unit}" if field in row else MISSING


def lines(results: Row) -> list[Line]:
    """The whole table."""
    return [
        *_kills(results.get("kills", [])),
        *_many(results.get("many", [])),
        *_load(results.get("load", [])),
        *_faults(results),
        *_peers(results.get("peers", [])),
    ]


def _kills(rows: list[Row]) -> list[Line]:
    there, here = (_delays(_found(rows, **{"read at": where})) for where in ("the other host", "A"))
    return [
        Line("from SIGKILL at one host until no `lookup` at another finds the process", "p50 <= 4 ms", there),
        Line("the same, 99 of 100", "p99 <= 15 ms", there),
        Line("the same, at its own host", "", here),
    ]


def _many(rows: list[Row]) -> list[Line]:
    wanted = (
        ("100,000 entries of 100 hosts published", "100,000 entries", "<= 4 s", "s"),
        (
            "a new host has all of them, from `open()`, with the start of its bridge",
            "a new mirror whole, from open",
            "",
            "s",
        ),
        ("the same, from its bridge's first word with etcd", "a new mirror whole, from its first", "", "s"),
        ("tables, for each entry of another host", "tables", "<= 600 B", "B"),
        ("memory of a bridge that mirrors them", "memory of the bridge", "<= 60 MB", "MB"),
        ("a local `lookup` beside them, against one without", "local lookup", "<= 1.05 times", "times"),
        ("a local `find` beside them, against one without", "local find", "<= 1.05 times", "times"),
    )
    return [Line(what, target, _value(_found(rows, what=label), "value", unit)) for what, label, target, unit in wanted]


def _load(rows: list[Row]) -> list[Line]:
    made: list[Line] = []
    for row in rows or [{}]:
        hosts = row.get("from hosts")
        pace = f"{_number(round(row['changes/s']))} changes a second" if row else "5,000 changes a second"
        from_hosts = f"{pace} from {hosts} host{'s' if hosts != 1 else ''}" if row else pace
        cores = f"{_number(row['cores, bridge'] + row['cores, registrar'])} cores" if row else MISSING
        made += [
            Line(f"{from_hosts}: until another host has one", "p99 <= 50 ms", _delays(row)),
            Line("the same: processor time of its bridge and registrar", "<= 0.25 cores", cores),
        ]
    return made


def _faults(results: Row) -> list[Line]:
    restarts, outage = (_found(results.get(name, [])) for name in ("restarts", "outage"))
    losses = results.get("losses", [])
    ttl = losses[0]["ttl, s"] if losses else 2.0
    lost, back = (_delays(_found(losses, what=what)) for what in ("lost", "back"))
    again = _value(outage, "true again, s", "s")
    changed = outage.get("changed meanwhile", 0)
    seconds, hosts = outage.get("seconds without etcd", 60.0), outage.get("hosts", 20)
    return [
        Line("a bridge is killed, until the next one holds its host's key", "p50 <= 300 ms", _delays(restarts)),
        Line("the same: entries that it writes again", "<= 0 entries", _value(restarts, "entries written", "entries")),
        Line(f"a host is lost, time to live {ttl:g} s: until others say so", f"p99 <= {ttl + 0.6:g} s", lost),
        Line("it is heard again: until it is back elsewhere", "p50 <= 50 ms", back),
        Line(f"{seconds:g} s without etcd, {hosts} hosts: until all is true again", _2S, again),
        Line(
            f"the same, {changed:,} entries changed meanwhile: writes" if changed else "the same: writes",
            f"<= {2000 + changed:,} writes",
            _value(outage, "writes", "writes"),
        ),
    ]


def _peers(rows: list[Row]) -> list[Line]:
    return [Line(f"from SIGKILL until others know: {row['peer']}", "", _delays(row)) for row in rows]


def _promise(line: Line) -> str:
    """What the line promises; a goal that was missed is no promise, and says so."""
    wanted = _TARGET.fullmatch(line.target)
    if wanted is None or line.measured == MISSING:
        return line.target
    figures = line.measured.split(" · ")
    figure = figures[1 if wanted["percentile"] == "p99" else 0]
    return line.target if _in_base(figure) <= _in_base(wanted["bound"]) else f"goal {line.target}, missed"


def _in_base(text: str) -> float:
    number, unit = text.split()
    return float(number.replace(",", "")) * _FACTORS.get(unit, 1.0)


def table(results: Row) -> str:
    made = ["| promise | what was measured | promised | p50 · p99 · worst |", "| --- | --- | --- | --- |"]
    made += [f"|  | {line.what} | {_promise(line)} | {line.measured} |" for line in lines(results)]
    if not results:
        return "\n".join(made)
    where, versions = results["environment"], results["versions"]
    said = ", ".join(f"{name} {version}" for name, version in {**versions, "adsum": where["adsum"]}.items())
    return "\n".join(
        [
            *made,
            "",
            f"One run of `make bench-cluster` on {where['machine']}, Linux {where['kernel']}, CPython "
            f"{where['python']}, {said}: all hosts and an etcd of three members share this machine.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the page instead of printing")
    arguments = parser.parse_args()
    measured = RESULTS / "cluster.json"
    made = table(json.loads(measured.read_text()) if measured.exists() else {})
    if not arguments.write:
        print(made)
        return
    PAGE.write_text(MARKED.sub(lambda marks: f"{marks[1]}{made}\n{marks[2]}", PAGE.read_text()))


if __name__ == "__main__":
    main()
