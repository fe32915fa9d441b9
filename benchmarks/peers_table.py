"""What `make bench-peers` measured, as a table and a picture: ``peers_table.py [--write]`` prints the table made of
``results/peers.json``, or writes it into the README, between the lines ``<!-- peers:begin -->`` and
``<!-- peers:end -->``, and the picture into the docs.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from harness import RESULTS, Row

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "peers.svg"
MARKED = re.compile(r"(<!-- peers:begin -->\n).*?(<!-- peers:end -->)", re.DOTALL)

# The operations in the table, with the beginnings of the names that the peers' rows have.
OPERATIONS = (
    ("look up one of 10,000 members, each checked to be alive", "lookup, 10,000"),
    ("look up one of 100,000", "lookup, 100,000"),
    ("the same beside 1,000 changes a second", "lookup beside changes, 100,000"),
    ("look one up for the first time", "lookup, first time, 100,000"),
    ("look for one that is absent", "lookup, absent, 100,000"),
    ("find 1,000 members by capability", "find 1,000 of 1,000"),
    ("choose one of 1,000", "choose 1 of 1,000"),
    ("choose the one with the least load", "choose by least of 1,000 gauges"),
    ("register", "register"),
    ("send a heartbeat", "heartbeat"),
    ("set a gauge", "set a gauge"),
    ("read a gauge", "read a gauge"),
    ("from SIGKILL until it is not found", "kill to gone"),
    ("`import adsum`", "import adsum"),
    ("open a running registry, and look up", "open a running registry, and look up"),
    ("open a new one, and register", "open and register, with the registrar's start"),
)


class Column(NamedTuple):
    """A peer: its heading, and the rows that it has, the first that fits."""

    heading: str
    peers: tuple[str, ...]


COLUMNS = (
    Column("adsum", ("adsum",)),
    Column("Elixir, inside one VM", ("Elixir: :ets", "Elixir: ETS", "Elixir: GenServer", "Elixir: Registry.register")),
    Column("Redis", ("Redis",)),
    Column("SQLite", ("SQLite",)),
    Column("Manager", ("multiprocessing",)),
    Column("a dict", ("dict",)),
)
COLORS = ("#0b7285", "#7048e8", "#c92a2a", "#868e96", "#adb5bd", "#ced4da")


def value(rows: list[Row], operation: str, column: Column) -> float | None:
    """The median in microseconds; None where the peer does not do that, or was not measured."""
    for peer in column.peers:
        for row in rows:
            if row["operation"] == operation and row["peer"].lower().startswith(peer.lower()):
                return float(row["us"])
    return None


def said(microseconds: float | None) -> str:
    if microseconds is None:
        return ""
    if microseconds >= 1000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds:.2f} µs" if microseconds < 10 else f"{microseconds:.0f} µs"


def table(results: Row) -> str:
    rows = results["rows"]
    lines = [
        f"| | {' | '.join(column.heading for column in COLUMNS)} |",
        f"| --- | {' | '.join('---:' for _ in COLUMNS)} |",
    ]
    for text, operation in OPERATIONS:
        cells = [said(value(rows, operation, column)) for column in COLUMNS]
        if any(cells):
            lines.append(f"| {text} | {' | '.join(cells)} |")
    where = results["environment"]
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of one run of `make bench-peers`, on {where['machine']}, Linux {where['kernel']}, CPython "
            f"{where['python']}. Redis and SQLite do not know which members live. The Elixir figures are of processes "
            "inside one virtual machine; all others are read from another process than the members'.",
        ]
    )


def picture(results: Row) -> str:
    """Horizontal bars on a logarithmic scale, as SVG."""
    rows, height, left, width = results["rows"], 16, 330, 560
    bars: list[str] = []
    y = 40
    for text, operation in OPERATIONS:
        measured = [
            (column, color, value(rows, operation, column)) for column, color in zip(COLUMNS, COLORS, strict=True)
        ]
        measured = [one for one in measured if one[2] is not None]
        if not measured:
            continue
        bars.append(f'<text x="{left - 10}" y="{y + 12}" text-anchor="end">{html.escape(text)}</text>')
        for column, color, microseconds in measured:
            assert microseconds is not None
            long = max(2.0, width * (math.log10(microseconds) + 2) / 6)
            bars.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{height - 3}" fill="{color}"/>')
            label = f"{column.heading}: {said(microseconds)}"
            bars.append(f'<text x="{left + long + 6:.1f}" y="{y + 11}" font-size="11">{html.escape(label)}</text>')
            y += height
        y += 10
    title = "Time of one operation, logarithmic scale: shorter is faster"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 {y + 10}" font-family="sans-serif" font-size="13" '
        f'role="img" aria-label="{title}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{left}" y="22" font-weight="bold">{title}</text>\n' + "\n".join(bars) + "\n</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the README and the picture instead of printing")
    arguments = parser.parse_args()
    results = json.loads((RESULTS / "peers.json").read_text())
    made = table(results)
    if not arguments.write:
        print(made)
        return
    page = ROOT / "README.md"
    page.write_text(MARKED.sub(lambda marks: f"{marks[1]}{made}\n{marks[2]}", page.read_text()))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(results))


if __name__ == "__main__":
    main()
