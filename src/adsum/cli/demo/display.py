"""How `adsum demo` looks: a live table on a terminal, lines in a file or a pipe, and the report at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..output import render
from ..output.styles import style_of
from .invocation import invocation

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from adsum_demo.view import Row, View

    from .command import AnyReport

FRAME_SECONDS = 0.125
LINE_SECONDS = 1.0
MAX_EVENTS = 4

_NUMBERS = ("PID", "INCARNATION", "DONE")
# The columns with their least widths. A terminal that is narrower than `_WIDE` has no room for those in `_LESS`. Only a
# cluster has hosts; its agents' capabilities are in their names.
_COLUMNS = {"HOST": 6, "AGENT": 9, "CAN DO": 8, "PID": 7, "INCARNATION": 11, "HEALTH": 8, "DONE": 4}
_LESS = ("INCARNATION",)
_WIDE = 80


class LineDisplay:
    """The demo in lines: every event, and the progress once a second."""

    def __init__(self) -> None:
        self._printed = 0
        self._next = 0.0
        self._sequential = False

    def show(self, view: View) -> None:
        """Print what is new in a view."""
        for event in view.events[self._printed :]:
            _print_line(view, event)
        self._printed = max(self._printed, len(view.events))
        begins, self._sequential = view.sequential and not self._sequential, view.sequential
        if begins or view.seconds >= self._next:
            self._next = view.seconds + LINE_SECONDS
            _print_line(view, _progress(view))


def _print_line(view: View, text: str) -> None:
    print(f"{view.seconds:5.1f} s  {render.printable(text)}", flush=True)


def _progress(view: View) -> str:
    done = f"{view.done} of {view.files} files"
    if view.sequential:
        return f"one process alone, to compare: {done}"
    return f"{sum(row.pid is not None for row in view.rows)} agents: {done}"


@contextmanager
def live_screen() -> Iterator[ScreenDisplay]:
    """A screen on the terminal of standard output."""
    from rich.console import Console
    from rich.live import Live

    with Live("starting the agents ...", console=Console(highlight=False), auto_refresh=False) as live:
        live.refresh()
        yield ScreenDisplay(live)


class ScreenDisplay:
    """The demo on a terminal: a table of the agents and progress bars, drawn several times a second."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._team: View | None = None
        self._drawn = 0.0

    def show(self, view: View) -> None:
        """Draw a view, if the last frame is old enough."""
        if not view.sequential:
            self._team = view
        now = time.monotonic()
        if now - self._drawn >= FRAME_SECONDS or view.done == view.files:
            self._drawn = now
            self._live.update(self._frame(view), refresh=True)

    def _frame(self, view: View) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        team = self._team or view
        events = [*team.events[-MAX_EVENTS:], *[""] * MAX_EVENTS][:MAX_EVENTS]
        return Group(
            *(_host_lines(team) if team.hosts else _where_to_look(team)),
            Text(),
            _agent_table(team.rows, self._live.console.width, has_hosts=bool(team.hosts)),
            Text(),
            _progress_bars(team, view if view.sequential else None),
            Text(),
            *(Text(render.printable(event), style="dim", no_wrap=True, overflow="ellipsis") for event in events),
        )


def _where_to_look(view: View) -> list[RenderableType]:
    from rich.text import Text

    if not view.registry:
        return [Text("starting etcd and the hosts ...", style="dim")]
    return [
        Text("in another terminal:", style="dim"),
        Text(f"{invocation()} ls --path {view.registry}{_namespace(view)}", style="dim", overflow="fold"),
    ]


def _host_lines(view: View) -> list[RenderableType]:
    """The hosts of a cluster and the members of etcd."""
    from rich.text import Text

    lines: list[RenderableType] = []
    for name, ip, state, leads in view.hosts:
        text = Text(f"{name:8} {ip:12} ")
        text.append(f"{state:9}", style=style_of("healthy" if state == "up" else "unhealthy"))
        lines.append(text.append("the coordinator is here" if leads else ""))
    etcd = Text("etcd     ")
    for member in view.etcd:
        etcd.append(f"{member}  ", style="bold red" if member.endswith("dead") else "")
    return [*lines, etcd]


def _namespace(view: View) -> str:
    return "" if view.namespace == "default" else f" --namespace {view.namespace}"


def _agent_table(rows: Sequence[Row], width: int, *, has_hosts: bool = False) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    left_out = {"CAN DO", "INCARNATION"} if has_hosts else {"HOST"}
    left_out |= set(_LESS if width < _WIDE else ())
    columns = {heading: least for heading, least in _COLUMNS.items() if heading not in left_out}
    for heading, least in columns.items():
        table.add_column(heading, min_width=least, justify="right" if heading in _NUMBERS else "left", no_wrap=True)
    table.add_column("WORKS ON", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        pid, incarnation, health = (str(value or "-") for value in (row.pid, row.incarnation, row.health))
        cells = {
            "HOST": Text(row.host),
            "AGENT": Text(row.name),
            "CAN DO": Text(row.capabilities),
            "PID": Text(pid),
            "INCARNATION": Text(incarnation),
            "HEALTH": Text(health, style=style_of(health)),
            "DONE": Text(str(row.pieces)),
        }
        is_gone = row.pid is None or row.at == "unreachable"
        at = Text(row.at if is_gone else render.printable(row.at), style="bold red" if is_gone else "")
        table.add_row(*(cells[heading] for heading in columns), at)
    return table


def _progress_bars(team: View, sequential: View | None) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for ratio in (None, 1, None, None, None):
        grid.add_column(no_wrap=True, ratio=ratio)
    for name, view in (("agents", team), ("one process", sequential)):
        done, seconds = (view.done, f"{view.seconds:.1f} s") if view else (0, "")
        bar = ProgressBar(total=team.files, completed=done)
        deaths = f"deaths: {view.deaths}" if view and not view.sequential else ""
        grid.add_row(name, bar, f"{done} of {team.files} files", seconds, deaths)
    return grid


def print_report(report: AnyReport) -> None:
    """The report for people, and the next step."""
    from adsum_demo.report import NEXT_STEP

    lines = [(heading, render.printable(line)) for heading, line in report.lines()]
    if report.good:
        lines += [("", ""), ("next", NEXT_STEP.format(adsum=invocation()))]
    print()
    if sys.stdout.isatty():
        _print_on_terminal(lines)
    else:
        print("\n".join(f"{heading:>6}  {line}".rstrip() for heading, line in lines))
    for difference in report.differences:
        print(f"        {render.printable(difference)}", file=sys.stderr)


def _print_on_terminal(lines: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold", no_wrap=True)
    for heading, line in lines:
        table.add_row(heading, Text(line))
    Console(highlight=False).print(table)
