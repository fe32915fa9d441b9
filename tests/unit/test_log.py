"""The log of a registrar and of a bridge takes at most two files of `MAX_BYTES`, and loses no record between them."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from adsum._bridge import process
from adsum._os import log_file
from adsum._os.log import Log, RotatedFile
from adsum._os.log_file import MAX_BYTES

LINE = "x" * 1000
# A line of the registrar has its time, process and level too.
MOST = 2 * (len(LINE) + 100)

Write: TypeAlias = Callable[[str], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / log_file.NAME


@pytest.fixture
def file(path: Path) -> Iterator[RotatedFile]:
    file = RotatedFile(path)
    yield file
    file.close()


@pytest.fixture(params=["registrar", "bridge"])
def write(request: pytest.FixtureRequest, file: RotatedFile) -> Write:
    """Log a text, as a registrar does and as a bridge does."""
    if request.param == "registrar":
        return lambda text: Log(file).info("%s", text)
    handler = logging.StreamHandler(file)
    return lambda text: handler.handle(logging.LogRecord("log", logging.INFO, __file__, 1, text, None, None))


def texts(path: Path) -> list[str]:
    """What was logged, without time, process and level."""
    return [re.sub(r"^\S+ \S+ \d+ INFO ", "", line) for line in path.read_text().splitlines()]


def older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def test_a_large_file_is_put_aside_and_no_record_is_lost(path: Path, write: Write) -> None:
    """A log file at its bound is renamed, and it and the new file hold the newest records without a gap."""
    for number in range(2 * MAX_BYTES // len(LINE)):
        write(f"{number:06} {LINE}")
    assert path.stat().st_size <= MAX_BYTES + MOST
    assert MAX_BYTES <= older(path).stat().st_size <= MAX_BYTES + MOST
    numbers = [int(line[:6]) for file in (older(path), path) for line in texts(file)]
    # The two files hold the newest of them, without a gap.
    assert numbers == list(range(numbers[0], 2 * MAX_BYTES // len(LINE)))


def test_what_others_append_counts(path: Path, write: Write) -> None:
    """What other processes append counts towards the bound of the log file."""
    write(LINE)
    with open(path, "ab") as error_output:
        error_output.write(b"y" * MAX_BYTES)
    write("the next record")
    assert texts(path) == ["the next record"]
    assert older(path).stat().st_size > MAX_BYTES


def test_a_file_that_a_client_put_aside_is_left(path: Path, write: Write) -> None:
    """After a client has renamed a full file, the registrar writes to the new one and renames nothing."""
    write("y" * MAX_BYTES)
    with log_file.open_to_append(path.parent) as log:
        log.write(b"of a client\n")
    write("of the registrar")
    assert texts(path) == ["of a client", "of the registrar"]


def test_a_log_that_cannot_be_made_anew_stops_no_caller(
    path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that cannot be written is reported on standard error, and the next one is written."""
    write("y" * MAX_BYTES)
    aside = path.parent.rename(path.parent.with_name("aside"))
    write("lost")
    assert "No such file or directory" in capsys.readouterr().err
    aside.rename(path.parent)
    write("written again")
    assert texts(path) == ["written again"]


def test_a_log_that_cannot_be_put_aside_grows_on(path: Path, write: Write) -> None:
    """As where a folder has the name that the older file is to get; for the client that starts a registrar, too."""
    older(path).mkdir()
    write("y" * MAX_BYTES)
    write("of the registrar")
    with log_file.open_to_append(path.parent) as log:
        log.write(b"of a client\n")
    assert texts(path)[1:] == ["of the registrar", "of a client"]


def test_a_line_says_when_who_and_how_grave() -> None:
    """A line of the log has its time, the pid, the level and the text; an exception adds its traceback."""
    output = io.StringIO()
    log = Log(output)
    log.info("serving %s", "a folder")
    log.warning("%d%%", 100)
    log.error("cannot serve")
    try:
        raise ValueError("a defect")
    except ValueError:
        log.exception("a batch of %d", 2)
    first, second, third, fourth, *traceback = output.getvalue().splitlines()
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}Z {os.getpid()} INFO serving a folder", first)
    assert second.endswith(" WARNING 100%")
    assert third.endswith(" ERROR cannot serve")
    assert fourth.endswith(" ERROR a batch of 2")
    assert traceback[0].startswith("Traceback")
    assert traceback[-1] == "ValueError: a defect"


def test_a_text_that_is_no_unicode_is_logged(path: Path, write: Write) -> None:
    """A text with a lone surrogate is logged, escaped."""
    write("\udcff")
    assert texts(path) == [r"\udcff"]


def test_a_process_without_standard_error_can_log() -> None:
    """A log without an output accepts records and drops them."""
    Log(None).info("lost")


def test_a_registrar_loads_no_logging() -> None:
    """It would be a twentieth of its start and of its memory."""
    code = "import sys, adsum._registrar.start; print(sorted({'logging', 'traceback', 'pickle'} & set(sys.modules)))"
    # Without the site folder: a .pth file there may load anything.
    command, paths = [sys.executable, "-S", "-c", code], {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_times_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has its time in UTC, and says so, whatever the time zone of its process; those of a bridge likewise."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        output = io.StringIO()
        before = datetime.now(UTC)
        Log(output).info("a line")
        stamp = " ".join(output.getvalue().split()[:2])
        # The stamp has no more than milliseconds.
        assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(stamp) <= datetime.now(UTC)
        assert stamp.endswith("Z")
        record = logging.LogRecord("log", logging.INFO, __file__, 1, "a line", None, None)
        record.created = 1e9 + 0.25
        assert process._Lines("%(asctime)s").format(record) == "2001-09-09 01:46:40.250Z"
    finally:
        monkeypatch.undo()
        time.tzset()
