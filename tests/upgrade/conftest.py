"""The previous release, built from the commit that it was made of, and agents that run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

import adsum
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
    yield from _agents_of(previous_release, registry_folder)


@pytest.fixture
def agent_without_amendments(registry_folder: Path, tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    """Starts processes of an adsum that differs from this one in one thing: it knows no request to amend."""
    package = tmp_path / "older" / "adsum"
    shutil.copytree(Path(adsum.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    wire = package / "_wire.py"
    kind = "    | Amend\n"
    text = wire.read_text()
    assert kind in text
    wire.write_text(text.replace(kind, ""))
    yield from _agents_of(package.parent, registry_folder)


def with_class_variables(text: str) -> str:
    """The text of a module, in which `ClassVar` has a meaning."""
    return text if "ClassVar" not in text else text.replace("from typing import ", "from typing import ClassVar, ", 1)


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
