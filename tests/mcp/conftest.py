"""A command and a registry for the tests of ``adsum mcp``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.cli.command import NODE, Command

from .connecting import WAYS, Way


@pytest.fixture
def command(registry_folder: Path) -> Command:
    """`adsum`, with a default registry of this test's own."""
    return Command(registry_folder.with_name("default"))


@pytest.fixture
def members(command: Command) -> Iterator[Registry]:
    """The same registry, opened in this process."""
    with adsum.open(path=command.folder, node=NODE, timeout=10) as registry:
        yield registry


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Way:
    """Each transport with each era of clients."""
    found: Way = request.param
    return found


@pytest.fixture(params=["enveloped", "handshake"])
def era(request: pytest.FixtureRequest) -> str:
    """Each era of clients."""
    return str(request.param)


@pytest.fixture(params=[WAYS[0], WAYS[3]], ids="-".join)
def either_way(request: pytest.FixtureRequest) -> Way:
    """Each transport once, and each era of clients once."""
    found: Way = request.param
    return found
