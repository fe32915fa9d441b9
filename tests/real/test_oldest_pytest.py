"""The fixtures work with the oldest pytest that the documentation names, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import write_files

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="pytest 7.0 does not run on Python 3.12"),
]
ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-real" / "oldest-pytest" / "bin" / "python"
LEAVING = """
import subprocess, sys

import adsum


def test_leaving(adsum_dir):
    code = "import adsum, time; adsum.open(timeout=10).register('left'); time.sleep(60)"
    test_leaving.child = subprocess.Popen([sys.executable, "-c", code])
    adsum.open().wait_for("left", timeout=30)
"""


def _run(folder: Path) -> str:
    # Its own configuration, or pytest would take that of the clone.
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [str(PYTHON), "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


def test_the_page_says_which_it_is() -> None:
    """The page names the version that is installed here."""
    code = "import pytest; print(pytest.__version__)"
    version = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert f"{version} is the oldest" in " ".join((ROOT / "docs" / "how-to" / "pytest.md").read_text().split())


def test_the_tests_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of the page pass; the one for asyncio needs a plugin that this pytest has not."""
    monkeypatch.chdir(tmp_path)
    write_files(ROOT / "docs" / "how-to" / "pytest.md")
    text = Path("test_watching.py").read_text()
    Path("test_watching.py").write_text(text.partition("@pytest.mark.asyncio")[0])
    assert "3 passed" in _run(tmp_path)


def test_a_member_that_is_left_fails_the_test(tmp_path: Path) -> None:
    """What a test leaves is named there too."""
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    said = _run(tmp_path)
    assert "1 passed, 1 error" in said
    assert "the test has left the member" in said
