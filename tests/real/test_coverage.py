"""coverage.py measures the program, and what the program starts if configured to; the registrar is no part of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import end_registrar, eventually, registrar_pid

pytestmark = pytest.mark.real

PROGRAM = """
import subprocess, sys
import adsum

registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("measured")
assert registry.lookup("measured") is not None
subprocess.run([sys.executable, "-c", "print('child')"], check=True)
print("registered")
"""
# With the patch, coverage.py follows child processes through a .pth file and COVERAGE_PROCESS_CONFIG.
CONFIGURATIONS = {"plain": "", "following": "patch = subprocess\nparallel = true\n"}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_coverage_does_not_follow_the_registrar(
    configuration: str, registry: Registry, registry_folder: Path, tmp_path: Path
) -> None:
    """A program that registers under `coverage run` ends normally and is measured; the registrar that it started is not
    traced, and leaves no data file when it ends."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "settings").write_text(f"[run]\ndata_file = {tmp_path}/.coverage\n{CONFIGURATIONS[configuration]}")
    coverage = [sys.executable, "-m", "coverage"]
    command = [*coverage, "run", "--rcfile=settings", "--source=.", "program.py", str(registry_folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["child", "registered"]), done.stderr

    pid = registrar_pid(registry_folder)
    assert pid is not None
    assert "coverage" not in Path(f"/proc/{pid}/maps").read_text()
    assert b"COVERAGE" not in Path(f"/proc/{pid}/environ").read_bytes()
    eventually(lambda: registry.lookup("measured") is None)
    before = data_files(tmp_path)
    assert before
    assert end_registrar(registry_folder) == pid
    assert data_files(tmp_path) == before
    assert [path for path in registry_folder.iterdir() if path.name.startswith(".coverage")] == []

    if configuration == "following":
        subprocess.run([*coverage, "combine", "--rcfile=settings"], cwd=tmp_path, check=True, capture_output=True)
    report = subprocess.run(
        [*coverage, "report", "--rcfile=settings"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "program.py" in report.stdout
    assert "100%" in report.stdout


def data_files(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name.startswith(".coverage")}


def test_the_fixtures_take_nothing_from_a_measurement(tmp_path: Path) -> None:
    """Tests under `coverage run` that use the fixtures of adsum measure each line of the program under test."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "team.py").write_text("import adsum\n\n\ndef count():\n    return adsum.open().count()\n")
    test = "import team\n\n\ndef test_count(adsum_member):\n    adsum_member('a')\n    assert team.count() == 1\n"
    (tmp_path / "test_team.py").write_text(test)
    coverage = [sys.executable, "-m", "coverage"]
    command = [*coverage, "run", "--source=.", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    report = subprocess.run([*coverage, "report"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in report.splitlines() if line.startswith(("team", "test_team"))] == ["100%"] * 2
