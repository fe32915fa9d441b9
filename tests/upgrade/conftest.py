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


@pytest.fixture(scope="session")
def previous_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package `adsum` of the previous release."""
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", PREVIOUS, "pyproject.toml", "README.md", "LICENSE", "src"], capture_output=True
    )
    if archive.returncode:
        pytest.skip("the commit of the previous release is not in this repository (a shallow clone, or no clone)")
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
    agents: list[Agent] = []

    def start() -> Agent:
        agents.append(Agent(registry_folder, env={"PYTHONPATH": f"{previous_release}{os.pathsep}{ROOT}"}))
        agents[-1].do(f"assert adsum.__file__.startswith({str(previous_release)!r}), adsum.__file__")
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
    end_registrar(registry_folder)
