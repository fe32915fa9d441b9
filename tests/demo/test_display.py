"""How the demo looks: it fits a narrow terminal, and what it advises to type works."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from adsum.cli.demo.display import _agent_table, _host_lines
from adsum.cli.demo.invocation import invocation
from adsum_demo.view import Row, View
from tests.cli.command import ADSUM

ROWS = [
    Row(f"counter-{n}", "counting", 4_000_000 + n, 12_345, "degraded", 10, "counting asyncio/tasks.py") for n in (1, 2)
]


@pytest.mark.parametrize(("width", "has_incarnation"), [(60, False), (100, True)])
def test_the_table_fits_the_terminal(width: int, *, has_incarnation: bool) -> None:
    """At 60 columns the incarnations are left out, and every heading and value that is shown is whole."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(_agent_table(ROWS, width))
    heading, row, *_ = capture.get().splitlines()
    expected = ["AGENT", "CAN", "DO", "PID", *(["INCARNATION"] * has_incarnation), "HEALTH", "DONE", "WORKS", "ON"]
    assert heading.split() == expected
    assert {"counter-1", "counting", "4000001", "degraded", "10"} <= set(row.split())
    assert len(row) <= width


@pytest.mark.parametrize("width", [60, 100])
def test_the_table_of_three_hosts_fits_the_terminal(width: int) -> None:
    """At 60 columns each agent is shown with its host; an agent that cannot be reached says so."""
    rows = [row._replace(host="host-a", at="unreachable") for row in ROWS]
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(_agent_table(rows, width, has_hosts=True))
    heading, row, *_ = capture.get().splitlines()
    assert heading.split() == ["HOST", "AGENT", "PID", "HEALTH", "DONE", "WORKS", "ON"]
    assert {"host-a", "counter-1", "4000001", "degraded", "10", "unreachable"} <= set(row.split())
    assert len(row) <= width


@pytest.mark.parametrize("width", [60, 100])
def test_hosts_and_etcd_fit_the_terminal(width: int) -> None:
    """Each host and its state has a line, and etcd's members have one."""
    hosts = [(f"host-{letter}", "10.77.0.11", "returning", True) for letter in "abc"]
    view = View(1, 0.0, hosts=hosts, etcd=["m1 follower", "m2 follower", "m3 dead"])
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(*_host_lines(view), sep="\n")
    lines = capture.get().splitlines()
    assert len(lines) == 4
    assert all("returning" in line and "coordinator" in line for line in lines[:3])
    assert max(map(len, lines)) <= width


def test_the_command_that_is_named_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo names its command by a path where the shell does not find it, and by its name where it does."""
    program = tmp_path / "environment" / "bin" / "adsum"
    program.parent.mkdir(parents=True)
    program.symlink_to(Path(sys.executable).parent / "adsum")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert invocation() == "environment/bin/adsum"
    monkeypatch.chdir("/")
    assert subprocess.run([invocation(), "--version"], capture_output=True).returncode == 0
    monkeypatch.setenv("PATH", os.fspath(program.parent))
    assert invocation() == "adsum"
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert invocation() == f"{sys.executable} -m adsum.cli" == " ".join(ADSUM)
