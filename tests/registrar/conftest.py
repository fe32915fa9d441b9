"""Fixtures for tests of the registrar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import kill_registrar


@pytest.fixture
def registry_folder(registry_folder: Path) -> Iterator[Path]:
    """The folder of a test's own; its registrars are killed at the end."""
    yield registry_folder
    for lock in registry_folder.parent.rglob("lock"):
        kill_registrar(lock.parent)
