"""The backlog: which piece of work comes next."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from adsum_demo import comparison, job, journal, leader
from adsum_demo.backlog import Backlog, Piece
from adsum_demo.journal import FileResult, Journal, PackageResult
from adsum_demo.messages import Product, Totals
from adsum_demo.team import Team
from adsum_demo.worker import carry_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.py").write_text(f"import {name}\n\n# {name}\ndef {name}(): pass\n")
    return tmp_path


def make(folder: Path, max_open_files: int = 3) -> Backlog:
    return Backlog(folder, sorted(path.name for path in folder.iterdir()), max_open_files)


def test_a_file_is_read_before_it_is_parsed_or_counted(folder: Path) -> None:
    """At first only reading has work; a file that was read can be parsed and counted."""
    backlog = make(folder)
    assert backlog.stages() == [job.READING]
    piece, work = backlog.take(job.READING)
    backlog.finish(piece, carry_out(work))
    assert set(backlog.stages()) == {job.READING, job.PARSING, job.COUNTING}


def test_a_file_is_checked_after_parsing_and_counting(folder: Path) -> None:
    """Checking waits for the parser and for the counter."""
    backlog = make(folder)
    for stage in (job.READING, job.COUNTING, job.PARSING):
        assert job.CHECKING not in backlog.stages()
        piece, work = backlog.take(stage)
        backlog.finish(piece, carry_out(work))
    assert backlog.stages()[0] == job.CHECKING


def test_lost_work_comes_first(folder: Path) -> None:
    """A piece that was given back is the next that is taken."""
    backlog = make(folder)
    first, _ = backlog.take(job.READING)
    backlog.take(job.READING)
    backlog.give_back(first)
    assert backlog.take(job.READING)[0] == first


def test_files_that_are_held_back_are_begun_when_they_are_let_go(folder: Path) -> None:
    """Until then the others are done, also one that was lost, and the job is not finished."""
    backlog = make(folder, max_open_files=10)
    backlog.held_back = 2
    lost, _ = backlog.take(job.READING)
    for _ in range(3):
        backlog.take(job.READING)
    assert job.READING not in backlog.stages()
    backlog.give_back(lost)
    assert backlog.take(job.READING)[0] == lost
    assert job.READING not in backlog.stages()
    backlog.held_back = 0
    assert job.READING in backlog.stages()


def test_few_files_are_open_at_a_time(folder: Path) -> None:
    """No further file is read while as many as allowed are open, but an open file may be read again."""
    backlog = make(folder, max_open_files=2)
    first, _ = backlog.take(job.READING)
    backlog.take(job.READING)
    assert backlog.stages() == []
    backlog.give_back(first)
    assert backlog.stages() == [job.READING]


@pytest.mark.parametrize("seed", range(50))
def test_all_work_is_done_once_despite_losses(folder: Path, seed: int) -> None:
    """In every order of finished and lost pieces, each file gets the same report as in a sequential run."""
    chance, backlog = random.Random(seed), make(folder)
    in_hand: list[tuple[Piece, Product]] = []
    while not backlog.finished:
        if (stages := backlog.stages()) and chance.random() < 0.6:
            piece, work = backlog.take(chance.choice(stages))
            in_hand.append((piece, carry_out(work)))
        elif in_hand:
            piece, product = in_hand.pop(chance.randrange(len(in_hand)))
            if chance.random() < 0.3:
                backlog.give_back(piece)
            else:
                backlog.finish(piece, product)
    expected = [job.analyse(folder, path.name) for path in folder.iterdir()]
    assert not in_hand
    assert backlog.sums == job.total(expected)
    assert comparison.differences(backlog.reports.values(), expected) == []


@pytest.mark.parametrize("seed", range(50))
def test_a_successor_finishes_the_job(folder: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """However often the leader is killed, and wherever its last line in the journal ends, its successors finish with
    the result of a sequential run."""
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("takeover") / "journal"
    for package in "xy":
        (folder / package).mkdir()
        (folder / package / "m.py").write_text(f"import {package}\n")
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.py"))
    orders = leader.Orders(Team("", "", "", ""), str(folder), names, 3, str(path))
    for _ in range(chance.randrange(8)):
        if not _lead(orders, chance, chance.randrange(15)).finished and (size := path.stat().st_size):
            # The leader may have died in the middle of its last line.
            last = path.read_bytes()[:-1].rfind(b"\n") + 1
            os.truncate(path, chance.choice([size, chance.randint(last, size)]))
    backlog = _lead(orders, chance, 1000)
    assert backlog.finished
    expected = [job.analyse(folder, name) for name in names]
    assert comparison.differences(backlog.reports.values(), expected) == []
    assert backlog.sums == job.total(expected)
    # Results in the journal are not produced again.
    records = journal.read(path)
    assert sum(isinstance(record, FileResult) for record in records) == len(names)
    assert sum(isinstance(record, PackageResult) for record in records) == len(backlog.sums)


def _lead(orders: leader.Orders, chance: random.Random, pieces: int) -> Backlog:
    """One term of a leader: so many pieces, or all that are left."""
    written = Journal(Path(orders.journal))
    backlog = leader.backlog(orders, written)
    for _ in range(pieces):
        if not (stages := backlog.stages()):
            break
        piece, work = backlog.take(chance.choice(stages))
        _write(written, piece, product := carry_out(work))
        backlog.finish(piece, product)
    written.close()
    return backlog


def _write(written: Journal, piece: Piece, product: Product) -> None:
    if isinstance(product, job.FileReport):
        written.write(FileResult(product))
    elif isinstance(product, Totals):
        written.write(PackageResult(piece.name, product.totals))


def test_a_package_is_summed_up_when_its_files_are_done(folder: Path) -> None:
    """Summing waits for every file of the package, and comes last."""
    backlog = make(folder, max_open_files=6)
    while stages := [stage for stage in backlog.stages() if stage != job.SUMMING]:
        assert not backlog.finished
        piece, work = backlog.take(stages[0])
        backlog.finish(piece, carry_out(work))
    assert backlog.done == backlog.files
    assert backlog.stages() == [job.SUMMING]
    piece, work = backlog.take(job.SUMMING)
    backlog.finish(piece, carry_out(work))
    assert backlog.finished


def test_a_wrong_product_is_refused(folder: Path) -> None:
    """A product of another stage is refused."""
    backlog = make(folder)
    piece, _ = backlog.take(job.READING)
    with pytest.raises(ValueError, match="not a product of reading"):
        backlog.finish(piece, job.Lines(""))
