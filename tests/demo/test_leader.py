"""Who takes over from a coordinator goes on exactly where it ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from adsum import Registry
from adsum_demo import journal, leader
from adsum_demo.journal import Began, Died, Journal, Record
from adsum_demo.messages import Frames
from adsum_demo.status import Over, StatusUpdate
from adsum_demo.team import Team
from tests.support import Child, eventually


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


def _lead(registry: Registry, folder: Path, earlier: list[Record]) -> list[Record]:
    """Let a coordinator lead a job without any files, after `earlier`. Returns what it added to the journal."""
    path = folder / "journal"
    book = Journal(path)
    for record in earlier:
        book.write(record)
    book.close()
    team = Team(str(registry.folder), registry.namespace, registry.node, str(folder))
    (folder / "orders").write_bytes(msgspec.json.encode(leader.Orders(team, str(folder), [], 1, str(path))))
    command = [sys.executable, "-P", "-m", "adsum_demo.leader", str(folder / "orders")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        frames: Frames[StatusUpdate | Over] = Frames(StatusUpdate | Over)
        said: list[StatusUpdate | Over] = []
        while Over("") not in said:
            part = process.stdout.read1()  # type: ignore[attr-defined]
            assert part, "it ended before it was done"
            said += frames.feed(part)
    return journal.read(path)[len(earlier) :]


def _die(registry: Registry, child: Child) -> int:
    """Register and kill an agent; the revision at which it was taken out."""
    registry.register("reader-1", child.process)
    child.kill()
    return int(eventually(lambda: registry.stats().revision == 2 and 2))


def test_a_death_that_nobody_noted_is_noted(registry: Registry, child: Child, tmp_path: Path) -> None:
    """An agent that died while nobody led, or whose death the last one had no time to write down, is missed."""
    revision = _die(registry, child)
    began, died = _lead(registry, tmp_path, [Began(1, 1)])
    assert isinstance(began, Began)
    assert died == Died("reader-1", revision, "")


def test_no_death_is_noted_twice(registry: Registry, child: Child, tmp_path: Path) -> None:
    """What the last one wrote down is not written down again."""
    revision = _die(registry, child)
    added = _lead(registry, tmp_path, [Began(1, 1), Died("reader-1", revision, "")])
    assert [type(record) for record in added] == [Began]


def test_the_first_begins_with_what_stands(registry: Registry, child: Child, tmp_path: Path) -> None:
    """Where there is no journal, nothing that happened before counts."""
    revision = _die(registry, child)
    (began,) = _lead(registry, tmp_path, [])
    assert isinstance(began, Began)
    assert began.revision >= revision
