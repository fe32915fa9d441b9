"""Which work comes next."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from adsum_demo import comparison, job, journal, leader
from adsum_demo.backlog import Backlog, Piece
from adsum_demo.journal import Finished, Journal, Summed
from adsum_demo.messages import Product, Totals
from adsum_demo.team import Team
from adsum_demo.worker import carry_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.py").write_text(f"import {name}\n\n# {name}\ndef {name}(): pass\n")
    return tmp_path


def make(folder: Path, ahead: int = 3) -> Backlog:
    return Backlog(folder, sorted(path.name for path in folder.iterdir()), ahead)


def test_a_file_is_read_before_it_is_parsed_or_counted(folder: Path) -> None:
    """At first there is nothing but reading to do; what was read can be parsed and counted."""
    backlog = make(folder)
    assert backlog.stages() == [job.READING]
    piece, work = backlog.take(job.READING)
    backlog.finish(piece, carry_out(work))
    assert set(backlog.stages()) == {job.READING, job.PARSING, job.COUNTING}


def test_a_file_is_checked_when_both_have_seen_it(folder: Path) -> None:
    """Checking waits for the parser and for the counter."""
    backlog = make(folder)
    for stage in (job.READING, job.COUNTING, job.PARSING):
        assert job.CHECKING not in backlog.stages()
        piece, work = backlog.take(stage)
        backlog.finish(piece, carry_out(work))
    assert backlog.stages()[0] == job.CHECKING


def test_lost_work_comes_first(folder: Path) -> None:
    """A piece that was given back is the next to be given out."""
    backlog = make(folder)
    first, _ = backlog.take(job.READING)
    backlog.take(job.READING)
    backlog.give_back(first)
    assert backlog.take(job.READING)[0] == first


def test_few_files_are_begun_at_a_time(folder: Path) -> None:
    """No further file is read while as many as allowed are under way, but one of them may be read again."""
    backlog = make(folder, ahead=2)
    first, _ = backlog.take(job.READING)
    backlog.take(job.READING)
    assert backlog.stages() == []
    backlog.give_back(first)
    assert backlog.stages() == [job.READING]


@pytest.mark.parametrize("seed", range(50))
def test_all_work_is_done_once_whoever_dies(folder: Path, seed: int) -> None:
    """In whatever order pieces are finished and lost, every file ends up with the report it would have got alone."""
    chance, backlog = random.Random(seed), make(folder)
    given: list[tuple[Piece, Product]] = []
    while not backlog.finished:
        if (stages := backlog.stages()) and chance.random() < 0.6:
            piece, work = backlog.take(chance.choice(stages))
            given.append((piece, carry_out(work)))
        elif given:
            piece, product = given.pop(chance.randrange(len(given)))
            if chance.random() < 0.3:
                backlog.give_back(piece)
            else:
                backlog.finish(piece, product)
    alone = [job.analyse(folder, path.name) for path in folder.iterdir()]
    assert not given
    assert backlog.sums == job.total(alone)
    assert comparison.differences(backlog.reports.values(), alone) == []


@pytest.mark.parametrize("seed", range(50))
def test_who_takes_over_finishes(folder: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """However often the one who leads is killed, and wherever its last line in the journal ends, its successors finish
    with the result that one process has alone."""
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("takeover") / "journal"
    for package in "xy":
        (folder / package).mkdir()
        (folder / package / "m.py").write_text(f"import {package}\n")
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.py"))
    orders = leader.Orders(Team("", "", "", ""), str(folder), names, 3, str(path))
    for _ in range(chance.randrange(8)):
        if not _lead(orders, chance, chance.randrange(15)).finished and (size := path.stat().st_size):
            # It may have died in the middle of its last line.
            last = path.read_bytes()[:-1].rfind(b"\n") + 1
            os.truncate(path, chance.choice([size, chance.randint(last, size)]))
    backlog = _lead(orders, chance, 1000)
    assert backlog.finished
    alone = [job.analyse(folder, name) for name in names]
    assert comparison.differences(backlog.reports.values(), alone) == []
    assert backlog.sums == job.total(alone)
    # What stands in the journal is not done again.
    records = journal.read(path)
    assert sum(isinstance(record, Finished) for record in records) == len(names)
    assert sum(isinstance(record, Summed) for record in records) == len(backlog.sums)


def _lead(orders: leader.Orders, chance: random.Random, pieces: int) -> Backlog:
    """One life of a leader: so many pieces, or as many as there are."""
    book = Journal(Path(orders.journal))
    backlog = leader.backlog(orders, book)
    for _ in range(pieces):
        if not (stages := backlog.stages()):
            break
        piece, work = backlog.take(chance.choice(stages))
        _note(book, piece, product := carry_out(work))
        backlog.finish(piece, product)
    book.close()
    return backlog


def _note(book: Journal, piece: Piece, product: Product) -> None:
    if isinstance(product, job.FileReport):
        book.write(Finished(product))
    elif isinstance(product, Totals):
        book.write(Summed(piece.name, product.totals))


def test_a_package_is_summed_up_when_its_files_are_done(folder: Path) -> None:
    """Summing waits for every file of the package, and is the last that is done."""
    backlog = make(folder, ahead=6)
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
    """What is no product of the stage is not taken for one."""
    backlog = make(folder)
    piece, _ = backlog.take(job.READING)
    with pytest.raises(ValueError, match="no product of reading"):
        backlog.finish(piece, job.Lines(""))
