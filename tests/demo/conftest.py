"""The command under test, and the report of one run for several tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .command import Demo, copy_of_adsum


@pytest.fixture
def demo() -> Iterator[Demo]:
    """`adsum demo`. Processes that a test leaves are killed."""
    made = Demo(Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm")))
    yield made
    made.end()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of Python source."""
    return copy_of_adsum(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def report(source: Path) -> Iterator[Any]:
    """The report on `source`, with kills."""
    made = Demo(Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm")))
    done = made.run(source, "--kills", "4", "--seed", "7", "--json")
    yield {"code": done.returncode, **json.loads(done.stdout)}
    made.end()
