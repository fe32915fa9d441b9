"""The log of a registrar and of a bridge takes at most two files of `MAX_BYTES`, and loses no record between them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adsum._os import log_file
from adsum._os.log_file import MAX_BYTES
from adsum._os.rotated_log import RotatedLog

LINE = "x" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / log_file.NAME


@pytest.fixture
def handler(path: Path) -> Iterator[RotatedLog]:
    handler = RotatedLog(path)
    yield handler
    handler.close()


def write(handler: RotatedLog, text: str = LINE) -> None:
    handler.handle(logging.LogRecord("log", logging.INFO, __file__, 1, text, None, None))


def older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def test_a_large_file_is_put_aside_and_no_record_is_lost(path: Path, handler: RotatedLog) -> None:
    for number in range(2 * MAX_BYTES // len(LINE)):
        write(handler, f"{number:06} {LINE}")
    assert path.stat().st_size <= MAX_BYTES + 2 * len(LINE)
    assert MAX_BYTES <= older(path).stat().st_size <= MAX_BYTES + 2 * len(LINE)
    numbers = [int(line[:6]) for file in (older(path), path) for line in file.read_text().splitlines()]
    # The two files hold the newest of them, without a gap.
    assert numbers == list(range(numbers[0], 2 * MAX_BYTES // len(LINE)))


def test_what_others_append_counts(path: Path, handler: RotatedLog) -> None:
    write(handler)
    with open(path, "ab") as error_output:
        error_output.write(b"y" * MAX_BYTES)
    write(handler, "the next record")
    assert path.read_text() == "the next record\n"
    assert older(path).stat().st_size > MAX_BYTES


def test_a_file_that_a_client_put_aside_is_left(path: Path, handler: RotatedLog) -> None:
    write(handler, "y" * MAX_BYTES)
    with log_file.open_to_append(path.parent) as log:
        log.write(b"of a client\n")
    write(handler, "of the registrar")
    assert path.read_text() == "of a client\nof the registrar\n"


def test_a_log_that_cannot_be_made_anew_stops_no_caller(
    path: Path, handler: RotatedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    write(handler, "y" * MAX_BYTES)
    aside = path.parent.rename(path.parent.with_name("aside"))
    write(handler, "lost")
    assert "FileNotFoundError" in capsys.readouterr().err
    aside.rename(path.parent)
    write(handler, "written again")
    assert path.read_text() == "written again\n"


def test_a_log_that_cannot_be_put_aside_grows_on(path: Path, handler: RotatedLog) -> None:
    """As where a folder has the name that the older file is to get; for the client that starts a registrar, too."""
    older(path).mkdir()
    write(handler, "y" * MAX_BYTES)
    write(handler, "of the registrar")
    with log_file.open_to_append(path.parent) as log:
        log.write(b"of a client\n")
    assert path.read_text().endswith("y\nof the registrar\nof a client\n")


def test_a_registrar_loads_none_of_logging_handlers() -> None:
    """It would be a twentieth of its start and of its memory."""
    code = (
        "import sys, adsum._registrar.start; print(sorted({'logging.handlers', 'pickle', 'queue'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
