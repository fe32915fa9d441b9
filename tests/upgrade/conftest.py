"""The previous release, built from the commit that it was made of, and agents that run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.support import Agent, end_registrar

ROOT = Path(__file__).resolve().parents[2]
# adsum 0.1, table format 1, protocol 1.
PREVIOUS = "aaf0993f650c9f9163dca029737752433edae1d6"
# The last version whose registrar knows no amendments: table format 2, protocol 2.
BEFORE_AMENDMENTS = "3012a7921e4fee044ce6283ba3e9db24515fd902"


@pytest.fixture(scope="session")
def previous_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package `adsum` of the previous release."""
    return _install(PREVIOUS, tmp_path_factory)


@pytest.fixture(scope="session")
def without_amendments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package `adsum` as it was before amendments."""
    return _install(BEFORE_AMENDMENTS, tmp_path_factory)


def _install(commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", commit, "pyproject.toml", "README.md", "LICENSE", "src"], capture_output=True
    )
    if archive.returncode:
        pytest.skip("the commit of that version is not in this repository (a shallow clone, or no clone)")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder / "source", filter="data")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--target", folder / "installed", folder / "source"),
        ],
        check=True,
    )
    return folder / "installed"


@pytest.fixture
def old_agent(previous_release: Path, registry_folder: Path) -> Iterator[Callable[[], Agent]]:
    """Starts processes of the previous release that have the registry open."""
    yield from _agents_of(previous_release, registry_folder)


@pytest.fixture
def agent_without_amendments(without_amendments: Path, registry_folder: Path) -> Iterator[Callable[[], Agent]]:
    """Starts processes of the version before amendments that have the registry open."""
    yield from _agents_of(without_amendments, registry_folder)


def _agents_of(release: Path, registry_folder: Path) -> Iterator[Callable[[], Agent]]:
    agents: list[Agent] = []

    def start() -> Agent:
        agents.append(Agent(registry_folder, env={"PYTHONPATH": f"{release}{os.pathsep}{ROOT}"}))
        agents[-1].do(f"assert adsum.__file__.startswith({str(release)!r}), adsum.__file__")
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
    end_registrar(registry_folder)
