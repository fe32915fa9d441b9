"""What outlives a coordinator."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum_demo import journal
from adsum_demo.job import FileReport, PackageTotals
from adsum_demo.journal import Began, Died, Finished, Given, Journal, Record, Stuck, Summed, Well
from adsum_demo.report import _blocked

_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
_RECORDS: list[Record] = [
    Began(1, 2),
    Finished(FileReport("a\n.py", "p", {"class": 1}, ["x"], {"code": 2}, "", "f")),
    Summed("p", PackageTotals(1, {}, 2, {}, 0)),
    Given("p", "adder-1", 9),
    Died("reader-1", 5, ""),
    Stuck("adder-1", 6, _WHEN, "summing p"),
    Well("adder-1", 7, _WHEN),
]


def _written(path: Path, records: list[Record]) -> None:
    book = Journal(path)
    for record in records:
        book.write(record)
    book.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Records are read in the order in which they were written, by whoever opens the journal next."""
    _written(tmp_path / "journal", _RECORDS[:3])
    _written(tmp_path / "journal", _RECORDS[3:])
    assert journal.read(tmp_path / "journal") == _RECORDS
    assert journal.read(tmp_path / "none") == []


@given(st.integers(0, 2000))
def test_half_a_line_says_nothing(length: int) -> None:
    """Cut off at any byte, a journal holds the records whose lines are whole, and can be continued."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "journal")
        _written(path, _RECORDS)
        whole = path.read_bytes()
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        book = Journal(path)
        assert book.records == _RECORDS[:kept]
        book.write(_RECORDS[0])
        book.close()
        assert journal.read(path) == [*_RECORDS[:kept], _RECORDS[0]]


def test_a_successor_follows_from_the_newest_change_that_was_noted() -> None:
    """The revision to go on from is the newest of a change that stands in the journal; that of a choice is none."""
    assert journal.revision(_RECORDS) == 7
    assert journal.revision([]) is None


@pytest.mark.parametrize(
    ("records", "meanwhile", "afterwards"),
    [
        ([Given("p", "adder-1", 5)], 1, 0),
        ([Given("p", "adder-1", 8)], 0, 1),
        ([Given("p", "other", 5)], 0, 0),
        ([Well("adder-1", 9, _WHEN), Given("p", "adder-1", 9)], 0, 1),
        ([Well("other", 9, _WHEN), Given("p", "adder-1", 6)], 1, 0),
    ],
)
def test_work_that_is_given_to_who_is_stuck_is_noticed(records: list[Record], meanwhile: int, afterwards: int) -> None:
    """A piece that was given by an entry no newer than the one that told of the trouble counts against the demo."""
    found = _blocked([Given("p", "adder-1", 1), Stuck("adder-1", 6, _WHEN, ""), *records])
    assert found is not None
    assert (found.given_meanwhile, found.given_afterwards) == (meanwhile, afterwards)


def test_nobody_stuck_is_nothing_to_report() -> None:
    """Where no agent was ever found stuck there is no account of it."""
    assert _blocked([Began(1, 2), Given("p", "adder-1", 1)]) is None
