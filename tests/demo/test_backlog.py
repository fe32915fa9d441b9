"""Which work comes next."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from adsum.demo import job
from adsum.demo.backlog import Backlog, Piece
from adsum.demo.worker import carry_out


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
    given: list[tuple[Piece, job.Text | job.Symbols | job.Lines | job.FileReport]] = []
    while backlog.done < backlog.files:
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
    assert job.differences(backlog.reports, alone) == []


def test_a_wrong_product_is_refused(folder: Path) -> None:
    """What is no product of the stage is not taken for one."""
    backlog = make(folder)
    piece, _ = backlog.take(job.READING)
    with pytest.raises(ValueError, match="no product of reading"):
        backlog.finish(piece, job.Lines(""))
