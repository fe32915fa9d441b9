"""``adsum demo``: a system of agents at work, with kills."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from cyclopts import Parameter, validators

from ..options import WHOLE, Json, RegistryOptions, UsageError
from ..output import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from adsum_demo.cluster.report import ClusterReport
    from adsum_demo.report import Report
    from adsum_demo.view import Observer

    AnyReport: TypeAlias = Report | ClusterReport
    Run: TypeAlias = Callable[[Observer], AnyReport]

FAILED = 1
SIGNALLED = 128

_Folder: TypeAlias = Annotated[
    Path | None, Parameter(help="Folder of Python source. Default: a part of the standard library.")
]
_Workers: TypeAlias = Annotated[
    int,
    Parameter(validator=validators.Number(gte=1, lte=64), help="Number of agents, besides the one that sums up."),
]
_Kills: TypeAlias = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=0, lte=1000),
        help="Number of agents to kill while they work. With 0 the coordinator is not killed either.",
    ),
]
_Seed: TypeAlias = Annotated[
    int | None, WHOLE, Parameter(help="Repeat the choice of victims and moments of an earlier run.")
]
_Name: TypeAlias = Annotated[
    str | None, Parameter(name=("--name", "-r"), help="Use the registry of this name instead of a temporary one.")
]
_PathOption: TypeAlias = Annotated[
    Path | None, Parameter(help="Use the registry in this folder instead of a temporary one.")
]
_Cluster: TypeAlias = Annotated[
    bool,
    Parameter(negative=(), help="Over three hosts, and etcd with three members. Needs adsum[cluster] and etcd."),
]
_Namespaces: TypeAlias = Annotated[
    bool | None,
    Parameter(help="With --cluster: hosts in namespaces of their own, or in folders. Default: what is possible."),
]


def demo(
    folder: _Folder = None,
    /,
    *,
    workers: _Workers = 8,
    kills: _Kills = 12,
    seed: _Seed = None,
    name: _Name = None,
    path: _PathOption = None,
    cluster: _Cluster = False,
    namespaces: _Namespaces = None,
    json: Json = False,
) -> int:
    """Run a small multi-agent system on this machine, and kill its processes.

    Each agent is a process. Together they analyse Python source: its definitions, imports and lines. A coordinator
    finds agents in the registry by capability. One agent after another is killed with SIGKILL and started again. The
    coordinator is killed once; its stand-by takes over the id and finishes the job. One agent blocks its event loop
    for a while, and gets no work until it is healthy again. The result must equal that of one process working alone.
    Takes less than half a minute; Ctrl-C ends it and leaves nothing behind.

    With `--cluster` the agents are on three hosts, which etcd makes one registry. Beside agents, the leader of etcd is
    killed, and all processes of the host on which the coordinator runs. Takes about a minute.

    ```console
    $ adsum demo
    $ adsum demo ~/src/project --workers 12 --kills 40
    $ adsum demo --cluster
    ```
    """
    RegistryOptions(name, path).check()
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    seed = random.randrange(1_000_000) if seed is None else seed
    if not cluster:
        if namespaces is not None:
            raise UsageError("--namespaces is for --cluster")
        return _run_and_report(_on_this_machine(folder, workers, kills, seed, name, path), json=json)
    if name is not None or path is not None:
        raise UsageError("--cluster makes registries of its own: leave out --name and --path")
    return _run_and_report(_over_three_hosts(folder, workers, kills, seed, namespaces), json=json)


def _on_this_machine(
    folder: Path | None, workers: int, kills: int, seed: int, name: str | None, path: Path | None
) -> Run:
    from adsum_demo.run import Options, run

    return lambda observe: run(Options(folder, workers, kills, seed, name, path), observe)


def _over_three_hosts(folder: Path | None, workers: int, kills: int, seed: int, namespaces: bool | None) -> Run:
    from adsum_demo.cluster.run import Options, run

    return lambda observe: run(Options(folder, workers, kills, seed, namespaces), observe)


def _run_and_report(run: Run, *, json: bool) -> int:
    """Run the demo, print its report, and return the exit code."""
    from adsum_demo.coordinator import DemoFailed
    from adsum_demo.run import Interrupted
    from adsum_demo.sources import NoSources

    try:
        report = _run(run, json=json)
    except NoSources as error:
        raise UsageError(str(error)) from error
    except DemoFailed as error:
        print(f"adsum: the demo's job failed: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as interrupted:
        print(f"adsum: {interrupted}; nothing is left behind", file=sys.stderr)
        return SIGNALLED + interrupted.number
    if json:
        render.print_json(msgspec.to_builtins(report))
    else:
        from .display import print_report

        print_report(report)
    return 0 if report.good else FAILED


def _run(run: Run, *, json: bool) -> AnyReport:
    if json:
        return run(lambda view: None)
    from .display import LineDisplay, live_screen

    if not sys.stdout.isatty():
        return run(LineDisplay().show)
    with live_screen() as screen:
        return run(screen.show)
