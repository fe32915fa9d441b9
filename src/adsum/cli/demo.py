"""``adsum demo``: a living system of agents, to watch."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter, validators

from .options import WHOLE, Json, UsageError
from .output import render

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from adsum_demo.report import Report
    from adsum_demo.run import Options
    from adsum_demo.view import Row, View

FRAME_SECONDS = 0.125
LINE_SECONDS = 1.0
EVENTS_SHOWN = 4
FAILED = 1
SIGNALLED = 128

_NUMBERS = ("PID", "INCARNATION", "DONE")
_HEALTH_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}

_Workers = Annotated[
    int,
    Parameter(validator=validators.Number(gte=1, lte=64), help="How many agents; one that sums up comes on top."),
]
_Kills = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=0, lte=1000),
        help="How many of them to kill while they work; 0 spares the coordinator, too.",
    ),
]


def demo(
    folder: Annotated[
        Path | None, Parameter(help="Python source; a part of the standard library unless given.")
    ] = None,
    /,
    *,
    workers: _Workers = 8,
    kills: _Kills = 12,
    seed: Annotated[int | None, WHOLE, Parameter(help="Choose victims and moments as in an earlier run.")] = None,
    name: Annotated[
        str | None, Parameter(name=("--name", "-r"), help="Use the registry of that name, not one of its own.")
    ] = None,
    path: Annotated[Path | None, Parameter(help="Use the registry in that folder, not one of its own.")] = None,
    json: Json = False,
) -> int:
    """Watch a living multi-agent system on this machine, with kills.

    Agents, each a process of its own, take Python source apart: what it defines and imports, line by line. A
    coordinator finds them through the registry by what they can do, while one after another is killed with SIGKILL and
    comes back. The coordinator is killed as well, and another, which stood by, takes over its name and finishes the
    job. One agent blocks its event loop for a while, and is given nothing until it is well again. The result must equal
    that of one process working alone. Takes less than half a minute; Ctrl-C ends it and leaves nothing behind.

    ```console
    $ adsum demo
    $ adsum demo ~/src/project --workers 12 --kills 40
    ```
    """
    from adsum_demo.coordinator import DemoFailed
    from adsum_demo.run import Interrupted, Options
    from adsum_demo.sources import NoSources

    if name is not None and path is not None:
        raise UsageError("give --name or --path, not both")
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    options = Options(folder, workers, kills, random.randrange(1_000_000) if seed is None else seed, name, path)
    try:
        report = _run(options, json=json)
    except NoSources as error:
        raise UsageError(str(error)) from error
    except DemoFailed as error:
        print(f"adsum: the demo's job failed: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as ended:
        print(f"adsum: {ended}; nothing is left behind", file=sys.stderr)
        return SIGNALLED + ended.number
    if json:
        render.print_json(msgspec.to_builtins(report))
    else:
        _print_report(report)
    return 0 if report.good else FAILED


def _run(options: Options, *, json: bool) -> Report:
    from adsum_demo.run import run

    if json:
        return run(options, lambda view: None)
    if not sys.stdout.isatty():
        return run(options, _Lines().show)
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        return run(options, _Screen(live).show)


def _print_report(report: Report) -> None:
    """The short report and the next step, for people."""
    from adsum_demo.report import NEXT_STEP

    lines = [(heading, render.printable(line)) for heading, line in report.lines()]
    if report.good:
        lines += [("", ""), ("next", NEXT_STEP)]
    print()
    if sys.stdout.isatty():
        _print_rich(lines)
    else:
        print("\n".join(f"{heading:>6}  {line}".rstrip() for heading, line in lines))
    for difference in report.differences:
        print(f"        {render.printable(difference)}", file=sys.stderr)


def _print_rich(lines: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold", no_wrap=True)
    for heading, line in lines:
        table.add_row(heading, Text(line))
    Console(highlight=False).print(table)


class _Lines:
    """The demo in lines, for a file or a pipe: every event, and now and then how far it is."""

    def __init__(self) -> None:
        self._shown = 0
        self._next = 0.0
        self._sequential = False

    def show(self, view: View) -> None:
        for event in view.events[self._shown :]:
            _print_line(view, event)
        self._shown = max(self._shown, len(view.events))
        begins, self._sequential = view.sequential and not self._sequential, view.sequential
        if begins or view.seconds >= self._next:
            self._next = view.seconds + LINE_SECONDS
            _print_line(view, _status(view))


def _print_line(view: View, text: str) -> None:
    print(f"{view.seconds:5.1f} s  {render.printable(text)}", flush=True)


def _status(view: View) -> str:
    done = f"{view.done} of {view.files} files"
    if view.sequential:
        return f"one process alone, to compare: {done}"
    return f"{sum(row.pid is not None for row in view.rows)} agents: {done}"


class _Screen:
    """The demo on a terminal: a table of the agents and how far the job is, drawn again several times a second."""

    def __init__(self, live: Live) -> None:
        self._run_agents = live
        self._team: View | None = None
        self._drawn = 0.0

    def show(self, view: View) -> None:
        if not view.sequential:
            self._team = view
        now = time.monotonic()
        if now - self._drawn >= FRAME_SECONDS or view.done == view.files:
            self._drawn = now
            self._run_agents.update(self._frame(view), refresh=True)

    def _frame(self, view: View) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        team = self._team or view
        events = [*team.events[-EVENTS_SHOWN:], *[""] * EVENTS_SHOWN][:EVENTS_SHOWN]
        return Group(
            Text(f"in another terminal: adsum ls --path {team.registry}{_namespace(team)}", style="dim"),
            Text(),
            _agents(team.rows),
            Text(),
            _progress(team, view if view.sequential else None),
            Text(),
            *(Text(render.printable(event), style="dim", no_wrap=True, overflow="ellipsis") for event in events),
        )


def _namespace(view: View) -> str:
    return "" if view.namespace == "default" else f" --namespace {view.namespace}"


def _agents(rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading, width in (("AGENT", 10), ("CAN DO", 10), ("PID", 7), ("INCARNATION", 11), ("HEALTH", 8), ("DONE", 5)):
        table.add_column(heading, min_width=width, justify="right" if heading in _NUMBERS else "left", no_wrap=True)
    table.add_column("WORKS ON", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        pid, incarnation, health = (str(value or "-") for value in (row.pid, row.incarnation, row.health))
        table.add_row(
            *(Text(cell) for cell in (row.name, row.capabilities, pid, incarnation)),
            Text(health, style=_HEALTH_STYLES.get(health, "")),
            Text(str(row.pieces)),
            Text("gone", style="bold red") if row.pid is None else Text(render.printable(row.at)),
        )
    return table


def _progress(team: View, sequential: View | None) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for ratio in (None, 1, None, None, None):
        grid.add_column(no_wrap=True, ratio=ratio)
    for who, view in (("agents", team), ("one process", sequential)):
        done, seconds = (view.done, f"{view.seconds:.1f} s") if view else (0, "")
        bar = ProgressBar(total=team.files, completed=done)
        deaths = f"deaths: {view.deaths}" if view and not view.sequential else ""
        grid.add_row(who, bar, f"{done} of {team.files} files", seconds, deaths)
    return grid
