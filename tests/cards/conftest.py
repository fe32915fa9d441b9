"""Members with cards, and a server for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adsum import Registry

from .server import serving

PLANNER: dict[str, Any] = {
    "protocols": {"a2a"},
    "endpoint": "http://127.0.0.1:9001/rpc",
    "description": "Plans trips by train.",
    "version": "1.4.0",
    "capabilities": {"planning", "routing"},
}
WEATHER: dict[str, Any] = {
    "protocols": {"mcp"},
    "endpoint": "http://127.0.0.1:9002/mcp",
    "description": "Weather forecasts for any place.",
    "version": "2.1",
    "capabilities": {"forecast"},
}


@pytest.fixture
def base(registry: Registry) -> Iterator[str]:
    """The base URL of a server of the registry's cards."""
    with serving(registry) as url:
        yield url
