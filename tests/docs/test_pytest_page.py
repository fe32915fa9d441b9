"""The page for tests: its tests, copied by users, pass every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .page import write_files

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "pytest.md"
RUNS = 6
OTHERS = 3


def test_the_tests_work_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests, copied from the page into an empty folder, pass and leave nothing, many times in a row."""
    monkeypatch.chdir(tmp_path)
    write_files(PAGE)
    # The same test file under many names, so that one pytest runs all.
    for number in range(RUNS):
        Path(f"test_{number}.py").write_text(Path("test_workers.py").read_text())
    # Its own configuration, or pytest would take that of the clone.
    Path("pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert f"{RUNS + 1 + OTHERS} passed" in done.stdout
