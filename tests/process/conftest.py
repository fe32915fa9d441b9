"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import kill_registrar


@pytest.fixture
def registry_folder(registry_folder: Path) -> Iterator[Path]:
    """The test's own folder; its registrars are killed at the end, because how they end does not matter."""
    yield registry_folder
    for lock in registry_folder.parent.rglob("lock"):
        kill_registrar(lock.parent)
