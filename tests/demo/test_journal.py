"""The journal, which survives a coordinator."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum_demo import journal
from adsum_demo.job import FileReport, PackageTotals
from adsum_demo.journal import (
    AgentDeath,
    FileResult,
    HostLoss,
    Journal,
    PackageResult,
    Record,
    StuckEnd,
    StuckStart,
    SumAssignment,
    TermStart,
)
from adsum_demo.report import _blocked_agent

_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
_RECORDS: list[Record] = [
    TermStart(1, 2),
    FileResult(FileReport("a\n.py", "p", {"class": 1}, ["x"], {"code": 2}, "", "f")),
    PackageResult("p", PackageTotals(1, {}, 2, {}, 0)),
    SumAssignment("p", "adder-1", 9),
    AgentDeath("reader-1", 5, ""),
    StuckStart("adder-1", 6, _WHEN, "summing p"),
    StuckEnd("adder-1", 7, _WHEN),
    HostLoss("host-b", ["reader-1"], ["reading a.py"]),
]


def _write(path: Path, records: list[Record]) -> None:
    opened = Journal(path)
    for record in records:
        opened.write(record)
    opened.close()


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Records are read in the order in which they were written, those of all writers."""
    _write(tmp_path / "journal", _RECORDS[:3])
    _write(tmp_path / "journal", _RECORDS[3:])
    assert journal.read(tmp_path / "journal") == _RECORDS
    assert journal.read(tmp_path / "none") == []


@given(st.integers(0, 2000))
def test_an_incomplete_line_is_dropped(length: int) -> None:
    """A journal that is cut off at any byte holds the records of its lines up to there, and can be continued."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "journal")
        _write(path, _RECORDS)
        whole = path.read_bytes()
        path.write_bytes(whole[:length])
        ends = [place + 1 for place in range(len(whole)) if whole[place : place + 2] == b"]\n"]
        # The first is that of the writer's own line.
        kept = sum(end <= length for end in ends[1:])
        opened = Journal(path)
        assert opened.records == _RECORDS[:kept]
        opened.write(_RECORDS[0])
        opened.close()
        assert journal.read(path) == [*_RECORDS[:kept], _RECORDS[0]]


def test_a_writer_with_a_smaller_token_than_its_successor_writes_in_vain(tmp_path: Path) -> None:
    """The journal is fenced: once a later writer has begun, what an earlier one adds is void for every reader."""
    earlier = Journal(tmp_path / "journal", 5)
    earlier.write(_RECORDS[0])
    later = Journal(tmp_path / "journal", 9)
    assert later.records == _RECORDS[:1]
    earlier.write(_RECORDS[1])
    later.write(_RECORDS[2])
    earlier.write(_RECORDS[3])
    assert journal.read(tmp_path / "journal") == [_RECORDS[0], _RECORDS[2]]
    earlier.close()
    later.close()


def test_a_successor_follows_from_the_newest_change_in_the_journal() -> None:
    """A successor continues from the newest revision among the journal's changes; an assignment is not a change."""
    assert journal.last_revision(_RECORDS) == 7
    assert journal.last_revision([]) is None


@pytest.mark.parametrize(
    ("records", "meanwhile", "afterwards"),
    [
        ([SumAssignment("p", "adder-1", 5)], 1, 0),
        ([SumAssignment("p", "adder-1", 8)], 0, 1),
        ([SumAssignment("p", "other", 5)], 0, 0),
        ([StuckEnd("adder-1", 9, _WHEN), SumAssignment("p", "adder-1", 9)], 0, 1),
        ([StuckEnd("other", 9, _WHEN), SumAssignment("p", "adder-1", 6)], 1, 0),
    ],
)
def test_work_given_to_a_stuck_agent_is_counted(records: list[Record], meanwhile: int, afterwards: int) -> None:
    """A piece counts as given to a stuck agent where the agent was chosen by an entry no newer than the one that showed
    it stuck."""
    found = _blocked_agent([SumAssignment("p", "adder-1", 1), StuckStart("adder-1", 6, _WHEN, ""), *records])
    assert found is not None
    assert (found.given_meanwhile, found.given_afterwards) == (meanwhile, afterwards)


def test_a_run_without_a_stuck_agent_reports_none() -> None:
    """Without a stuck agent in the journal, the report has no part about one."""
    assert _blocked_agent([TermStart(1, 2), SumAssignment("p", "adder-1", 1)]) is None
