"""The command under test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from .command import NODE, Command


@pytest.fixture
def command(registry_folder: Path) -> Command:
    """`adsum`, with a default registry of this test's own."""
    return Command(registry_folder.with_name("default"))


@pytest.fixture
def members(command: Command) -> Iterator[Registry]:
    """The same registry, opened in this process."""
    with adsum.open(path=command.folder, node=NODE, timeout=10) as registry:
        yield registry
