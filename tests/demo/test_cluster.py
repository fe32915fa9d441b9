"""The demo over three hosts: one run with namespaces where they are to be had, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adsum_demo.cluster import grounds
from tests.cli.terminal import Terminal
from tests.support import eventually

from .command import DEMO, Demo, until_line, wait_for

needs_namespaces = pytest.mark.skipif(grounds.command() is None, reason="namespaces need root or user namespaces")


@pytest.fixture(scope="module")
def cluster_report(source: Path) -> Iterator[Any]:
    """The report of one run with kills, and what it left."""
    made = Demo(Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm")))
    done = made.run(source, "--cluster", "--kills", "3", "--seed", "3", "--json")
    assert done.stdout, done.stderr
    left = {"processes": made.processes(), "folders": made.folders()}
    yield {"code": done.returncode, "left": left, **json.loads(done.stdout)}
    made.end()


def test_three_hosts_find_what_one_process_finds(cluster_report: Any) -> None:
    """Agents on three hosts reach the result of the sequential run, though a host is lost with its coordinator."""
    assert cluster_report["code"] == 0
    assert cluster_report["equal_to_sequential"], cluster_report["differences"]
    assert cluster_report["left"] == {"processes": [], "folders": []}


def test_a_killed_host_is_lost_and_another_one_leads(cluster_report: Any) -> None:
    """The other hosts find no agent of a killed host after its lease and half a second, and its coordinator's stand-by
    leads on another host."""
    killed = cluster_report["host_killed"]
    assert killed["successor"] != killed["host"]
    assert len(killed["gone"]) == 2
    # The lease was last extended before the kill; the rest is for a busy machine.
    assert 0 < max(killed["gone"]) < cluster_report["ttl_seconds"] + 10


def test_the_death_of_an_agent_is_known_on_all_hosts(cluster_report: Any) -> None:
    """Each killed agent was gone from the lookups of both other hosts, also the one that was killed when etcd had just
    lost its leader."""
    without = cluster_report["killed_without_leader"]
    assert len(without["others"]) == 2
    assert cluster_report["leader_killed"]["seconds"] > 0
    assert cluster_report["kill_to_gone"]["n"] == 2 * (cluster_report["kills"] - 1)


def test_no_host_hands_out_the_dead(cluster_report: Any) -> None:
    """Of all reads of the observers and coordinators none returned a process of the same host after its end, and none
    one of another host longer after its end than its lease lasts."""
    assert cluster_report["dead_handed_out"] == 0
    assert cluster_report["lookups"] > 100
    assert cluster_report["finds"] > 100


def test_a_difference_is_loud(demo: Demo, tmp_path: Path) -> None:
    """Where the agents' result differs from the sequential run, the exit code is 1 and every difference is printed."""
    code = """
from adsum_demo import job
original = job.count
job.count = lambda text: job.Lines(original(text).kinds.replace(job.COMMENT, job.CODE))
import sys
from adsum.cli import main
sys.exit(main(["demo", *sys.argv[1:]]))
"""
    (tmp_path / "one.py").write_text("# a comment\n")
    done = demo.run(tmp_path, "--cluster", "--kills", "0", program=(sys.executable, "-c", code))
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout
    assert "should be" in done.stderr


@needs_namespaces
def test_a_narrow_terminal_shows_hosts_and_agents(demo: Demo, tmp_path: Path) -> None:
    """At 60 columns the live table has the hosts with their states, etcd's members and the agents, and the report
    follows."""
    (tmp_path / "one.py").write_text("# a comment\n")
    with Terminal([*DEMO, str(tmp_path), "--cluster", "--kills", "0"], demo.environment, columns=60) as terminal:
        wait_for(terminal, "the coordinator is here")
        wait_for(terminal, "adder-1")
        wait_for(terminal, "equal to that of one process alone")
        assert "leader" in terminal.shown
        assert terminal.process.wait(30) == 0


@pytest.mark.parametrize("arguments", [("--cluster", "--name", "x"), ("--namespaces",)])
def test_options_that_do_not_fit_are_refused(demo: Demo, arguments: tuple[str, ...]) -> None:
    """A cluster has registries of its own, and only hosts can have namespaces."""
    done = demo.run(*arguments)
    assert done.returncode == 2
    assert "--cluster" in done.stderr


@needs_namespaces
def test_a_killed_command_takes_all_hosts_with_it(demo: Demo) -> None:
    """When the command itself is killed, the kernel ends the namespaces with all registrars, bridges and etcd."""
    with demo.start("--cluster", "--kills", "0") as child:
        eventually(lambda: len(demo.processes("adsum-bridge")) == 3, within=60)
        child.kill()
    eventually(lambda: demo.processes() == [], within=30)


@pytest.mark.parametrize("where", ["--namespaces", "--no-namespaces"])
def test_ctrl_c_ends_all_hosts(demo: Demo, where: str) -> None:
    """Ctrl-C while the hosts start leaves no process and no folder, with namespaces and without."""
    if where == "--namespaces" and grounds.command() is None:
        pytest.skip("namespaces need root or user namespaces")
    with demo.start("--cluster", where, "--kills", "0") as child:
        eventually(lambda: demo.processes("adsum-bridge"), within=60)
        list(until_line(child, "agents"))
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(60) == 128 + signal.SIGINT
    assert demo.processes() == []
    assert demo.folders() == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_three_folders_find_what_one_process_finds(demo: Demo, source: Path, seed: int) -> None:
    """Without namespaces the hosts are folders, and the result is the same."""
    report = demo.report(source, "--cluster", "--no-namespaces", "--kills", "8", "--seed", str(seed))
    assert report["equal_to_sequential"]
    assert report["host_killed"] is not None
    assert not report["namespaces"]
