"""The demo from beginning to end."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import adsum
from tests.cli.terminal import Terminal
from tests.support import end_registrar, eventually

from .command import DEMO, Demo, wait_for

# Within a demo's time on a busy machine.
SOON = 60.0


def test_agents_find_what_one_process_finds(report: Any) -> None:
    """Agents that are killed while they work reach the result of the sequential run."""
    assert report["equal_to_sequential"]
    assert report["differences"] == []


def test_a_good_run_ends_with_success(report: Any) -> None:
    """The exit code is 0 where the result is equal and no read returned a dead process."""
    assert report["code"] == 0


def test_every_file_is_in_the_report(report: Any, source: Path) -> None:
    """The report counts every Python file of the folder once, in its package."""
    files = [path.relative_to(source) for path in source.rglob("*.py")]
    expected = {".".join(path.parent.parts) or "(top)" for path in files}
    assert report["packages"].keys() == expected
    assert sum(package["files"] for package in report["packages"].values()) == report["files"] == len(files)


def test_every_line_is_in_the_report(report: Any, source: Path) -> None:
    """The report's lines of all kinds add up to the lines of the files."""
    lines = sum(len(path.read_text().splitlines()) for path in source.rglob("*.py"))
    assert sum(sum(package["lines"].values()) for package in report["packages"].values()) == lines


def test_agents_are_killed_while_they_work(report: Any) -> None:
    """Chaos kills agents during the job, and measures for each how long lookups still find it."""
    assert 0 < report["kills"] <= 4
    assert 0 < report["kill_to_gone"]["p50_ms"] <= report["kill_to_gone"]["max_ms"]


def test_the_coordinator_sees_every_death(report: Any) -> None:
    """The coordinator sees every death in the registry."""
    assert report["deaths"] == report["kills"]


def test_the_stand_by_takes_over(report: Any) -> None:
    """The coordinator is killed once; its stand-by gets the id and finishes the job."""
    takeover = report["takeover"]
    assert takeover["killed_pid"] != takeover["successor_pid"]
    assert takeover["kill_to_registered_ms"] > 0
    assert 0 < takeover["files_kept"] < report["files"]


def test_a_stuck_agent_gets_no_work(report: Any) -> None:
    """The agent that blocks its event loop is marked degraded and loses the piece in hand. It gets no work while it is
    stuck, and work again once it is healthy."""
    blocked = report["blocked"]
    assert blocked["taken_back"] > 0
    assert 0 < blocked["degraded_seconds"] < 60
    assert blocked["given_meanwhile"] == 0
    assert blocked["given_afterwards"] > 0


def test_no_dead_process_is_handed_out(report: Any) -> None:
    """S2: no lookup and no find returns a process whose death the kernel had reported before the read began."""
    assert report["dead_handed_out"] == 0


def test_each_piece_of_work_begins_with_a_find_and_a_lookup(report: Any) -> None:
    """Each file has four pieces, and each piece needs a find by capability and a lookup of the chosen agent."""
    assert report["finds"] >= 4 * report["files"]
    assert report["lookups"] >= 4 * report["files"]


def test_kills_do_not_change_the_result(demo: Demo, source: Path, report: Any) -> None:
    """Without kills, and with fewer agents, the totals are the same."""
    calm = demo.report(source, "--kills", "0", "--workers", "2")
    assert calm["deaths"] == 0
    assert calm["takeover"] is None
    assert calm["blocked"]["given_meanwhile"] == 0
    assert calm["packages"] == report["packages"]


def test_a_coordinator_killed_from_outside_is_replaced(demo: Demo, source: Path, report: Any) -> None:
    """When another process kills the coordinator during the job, the stand-by takes over and the result is the same."""
    with demo.start(str(source), "--kills", "0", "--json") as child:
        eventually(lambda: demo.folders() and _leader(demo), SOON)
        os.kill(_leader(demo), signal.SIGKILL)
        out, errors = child.process.communicate(timeout=60)
    assert child.process.returncode == 0, errors
    assert json.loads(out)["equal_to_sequential"]
    assert json.loads(out)["packages"] == report["packages"]


def _leader(demo: Demo) -> int:
    """The coordinator's pid once it has finished a file, 0 before."""
    with demo.registry() as registry:
        entry = registry.lookup("coordinator")
        return entry.pid if entry is not None and entry.metadata.resources.get("files_done") else 0


def test_any_process_sees_a_stuck_agent(demo: Demo, source: Path) -> None:
    """While its loop is blocked, the agent is registered and marked degraded by the registrar, and a search for healthy
    members does not find it; afterwards it is healthy again by itself."""
    with demo.start(str(source), "--kills", "0", "--json") as child:
        eventually(lambda: demo.folders() and (demo.folders()[0] / "registry").exists(), SOON)
        with demo.registry() as registry:
            stuck = eventually(lambda: registry.find(capability="summing", health_status="degraded"), SOON)
            found = registry.choose(capability="summing")
            well = eventually(lambda: registry.find(capability="summing", health_status="healthy"), SOON)
        assert (stuck[0].process_id.local_id, stuck[0].health_source) == ("adder-1", "registrar")
        assert found is None or found.revision > stuck[0].revision
        assert well[0].incarnation == stuck[0].incarnation
        child.process.communicate(timeout=60)


def test_a_normal_end_leaves_nothing(demo: Demo, source: Path) -> None:
    """After the command has ended, none of its processes and folders remains."""
    demo.run(source, "--kills", "1")
    assert demo.processes() == []
    assert demo.folders() == []


def test_a_given_registry_is_used_and_kept(demo: Demo, source: Path) -> None:
    """In a registry given by name, the demo uses a namespace of its own and leaves no entry there."""
    with adsum.open(path=demo.base / "mine", timeout=10) as registry:
        registry.register("other")
        demo.report(source, "--name", "mine", "--kills", "1")
        assert registry.stats().revision > 8
        assert registry.stats().entries == 1
        assert registry.lookup("other") is not None
        registry.unregister("other")
    end_registrar(demo.base / "mine")


def test_a_folder_without_source_is_a_mistake(demo: Demo, tmp_path: Path) -> None:
    """A folder without Python source is refused with exit code 2 and a message."""
    done = demo.run(tmp_path)
    assert done.returncode == 2
    assert "no Python source" in done.stderr


def test_a_difference_is_loud(demo: Demo, source: Path) -> None:
    """Where the agents' result differs from the sequential run, the exit code is 1 and every difference is printed."""
    code = """
from adsum_demo import job
original = job.count
job.count = lambda text: job.Lines(original(text).kinds.replace(job.COMMENT, job.CODE))
import sys
from adsum.cli import main
sys.exit(main(["demo", *sys.argv[1:]]))
"""
    done = demo.run(source, "--kills", "0", program=(sys.executable, "-c", code))
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout
    assert "should be" in done.stderr


def test_a_terminal_shows_a_table(demo: Demo, source: Path) -> None:
    """On a terminal the demo shows a live table of the agents, a progress bar, and a short report at the end."""
    with Terminal([*DEMO, str(source), "--kills", "1"], demo.environment, columns=100) as terminal:
        wait_for(terminal, "reader-1")
        wait_for(terminal, "checker-2")
        wait_for(terminal, "0 dead processes returned")
        # The command may be folded: it names the program by its path where that is not on PATH.
        assert "ls--path" in "".join(terminal.read().split())
        assert terminal.process.wait(10) == 0
