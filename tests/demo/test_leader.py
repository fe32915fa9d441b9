"""A coordinator's successor continues exactly where its predecessor ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from adsum import Registry
from adsum_demo import journal, leader
from adsum_demo.journal import AgentDeath, Journal, Record, TermStart
from adsum_demo.messages import Frames
from adsum_demo.status import JobEnd, StatusUpdate
from adsum_demo.team import Team
from tests.support import Child, eventually


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


def _lead(registry: Registry, folder: Path, earlier: list[Record]) -> list[Record]:
    """Let a coordinator lead a job without files, after the records `earlier`. Returns the records that it added."""
    path = folder / "journal"
    written = Journal(path)
    for record in earlier:
        written.write(record)
    written.close()
    team = Team(str(registry.folder), registry.namespace, registry.node, str(folder))
    (folder / "orders").write_bytes(msgspec.json.encode(leader.Orders(team, str(folder), [], 1, str(path))))
    command = [sys.executable, "-P", "-m", "adsum_demo.leader", str(folder / "orders")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        frames: Frames[StatusUpdate | JobEnd] = Frames(StatusUpdate | JobEnd)
        received: list[StatusUpdate | JobEnd] = []
        while JobEnd("") not in received:
            part = process.stdout.read1()  # type: ignore[attr-defined]
            assert part, "the coordinator ended before the job did"
            received += frames.feed(part)
    return journal.read(path)[len(earlier) :]


def _die(registry: Registry, child: Child) -> int:
    """Register an agent and kill it. Returns the revision at which its entry was removed."""
    registry.register("reader-1", child.process)
    child.kill()
    return int(eventually(lambda: registry.stats().revision == 2 and 2))


def test_a_death_missing_from_the_journal_is_added(registry: Registry, child: Child, tmp_path: Path) -> None:
    """A successor writes down the death of an agent that died without a leader, or before the last leader could
    write."""
    revision = _die(registry, child)
    start, death = _lead(registry, tmp_path, [TermStart(1, 1)])
    assert isinstance(start, TermStart)
    assert death == AgentDeath("reader-1", revision, "")


def test_no_death_is_written_twice(registry: Registry, child: Child, tmp_path: Path) -> None:
    """A successor does not repeat a death that its predecessor wrote down."""
    revision = _die(registry, child)
    added = _lead(registry, tmp_path, [TermStart(1, 1), AgentDeath("reader-1", revision, "")])
    assert [type(record) for record in added] == [TermStart]


def test_the_first_coordinator_ignores_the_past(registry: Registry, child: Child, tmp_path: Path) -> None:
    """Without a journal, changes before the watch began do not count."""
    revision = _die(registry, child)
    (start,) = _lead(registry, tmp_path, [])
    assert isinstance(start, TermStart)
    assert start.revision >= revision
