"""The application over this test's registry, a client of it, and a server process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")

from starlette.testclient import TestClient

import adsum.web
from adsum import Registry

from .server import Server


@pytest.fixture
def client(registry: Registry) -> Iterator[TestClient]:
    """A client of the application, which allows no writes. Redirects are not followed."""
    with TestClient(adsum.web.app(registry), follow_redirects=False) as client:
        yield client


@pytest.fixture
def server(registry_folder: Path) -> Iterator[Server]:
    """`adsum web` on a free port of the loopback address."""
    with Server(registry_folder) as server:
        yield server
