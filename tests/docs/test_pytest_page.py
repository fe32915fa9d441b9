"""The page for tests: its fixture, printed for users, works every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .page import write_files

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "pytest.md"
RUNS = 15


def test_the_fixture_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conftest.py and the test, copied from the page, pass and end without an error, many times in a row."""
    monkeypatch.chdir(tmp_path)
    write_files(PAGE)
    # The same test file under many names, so that one pytest runs all.
    for number in range(RUNS):
        Path(f"test_{number}.py").write_text(Path("test_workers.py").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert f"{RUNS + 1} passed" in done.stdout
