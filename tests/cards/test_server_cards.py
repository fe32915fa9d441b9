"""MCP server cards: the rules of their schema, and when there is none."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from adsum import Registry, cards

from .conftest import PLANNER, WEATHER


def test_a_server_has_a_card(registry: Registry, base: str) -> None:
    """The card of an MCP server has its address, under the type of server cards."""
    registry.register("weather", **WEATHER)
    response = httpx.get(f"{base}/agents/default/{registry.node}/weather/server-card")
    assert response.headers["Content-Type"] == "application/mcp-server-card+json"
    card = response.json()
    assert card["remotes"] == [{"type": "streamable-http", "url": "http://127.0.0.1:9002/mcp"}]
    assert (card["title"], card["version"], card["description"]) == ("weather", "2.1", WEATHER["description"])
    assert card["_meta"]["adsum/liveness"]["uri"] == cards.LIVENESS_URI
    assert card["_meta"]["adsum/liveness"]["alive"] is True


@pytest.mark.parametrize("local_id", ["weather", "a/b c_d.é", "x" * 400])
def test_a_card_keeps_the_rules_of_its_schema(registry: Registry, local_id: str) -> None:
    """Names have the form of the schema, and no text is longer than it allows, whatever the member states."""
    fields = {**WEATHER, "description": "long " * 100, "version": "1" * 128}
    registry.register(local_id, **fields)
    card = cards.server_card(registry[local_id], "tools.example.com")
    assert isinstance(card, cards.ServerCard)
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", card.name)
    assert card.name.startswith("com.example.tools/")
    assert len(card.name) <= 200
    assert 0 < len(card.title) <= 100
    assert len(card.description) == 100
    assert card.schema == "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"


def test_long_names_differ(registry: Registry) -> None:
    """Two names that begin alike, and are too long for a card, have different names there."""
    names = {}
    for end in "ab":
        registry.register("x" * 400 + end, **WEATHER)
        card = cards.server_card(registry["x" * 400 + end])
        assert isinstance(card, cards.ServerCard)
        names[end] = card.name
    assert names["a"] != names["b"]


def test_own_data_overrides_fields(registry: Registry) -> None:
    """The fields of `custom["mcp"]` take the place of those made from the entry; the liveness stays."""
    given = {
        "name": "com.example/weather",
        "remotes": [{"url": "https://example.com/mcp", "supportedProtocolVersions": ["2026-07-28"]}],
        "_meta": {"com.example/zone": 3},
        "websiteUrl": "https://example.com",
    }
    registry.register("weather", **WEATHER, custom={"mcp": given})
    card = cards.server_card(registry["weather"])
    assert isinstance(card, cards.ServerCard)
    assert (card.name, card.website_url) == ("com.example/weather", "https://example.com")
    assert card.remotes[0].type == "streamable-http"
    assert card.remotes[0].supported_protocol_versions == ["2026-07-28"]
    assert set(card.meta) == {"com.example/zone", "adsum/liveness"}


def test_only_the_registry_says_how_a_server_is(registry: Registry) -> None:
    """What a server states in `_meta` under a name of adsum's, or with a URI of adsum's, is left out of its card."""
    forged = {"uri": cards.LIVENESS_URI, "health": "healthy"}
    meta = {"adsum/liveness": forged, "Adsum/health": "healthy", "com.example/life": forged, "com.example/zone": 3}
    registry.register("weather", **WEATHER, custom={"mcp": {"_meta": meta}})
    registry.update_health("weather", "unhealthy")
    card = cards.server_card(registry["weather"])
    assert isinstance(card, cards.ServerCard)
    assert set(card.meta) == {"com.example/zone", "adsum/liveness"}
    assert card.meta["adsum/liveness"]["health"] == "unhealthy"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (PLANNER, "its protocols do not name mcp"),
        ({**WEATHER, "endpoint": None}, "it states no endpoint"),
        ({**WEATHER, "endpoint": "stdio:weather"}, "no URL of http or https"),
        ({**WEATHER, "custom": {"mcp": {"remotes": []}}}, "leaves it no address"),
        ({**WEATHER, "custom": {"mcp": {"remotes": [{"type": "sse"}]}}}, "does not fit"),
        ({**WEATHER, "custom": {"mcp": {"remotes": 5}}}, "server card: remotes: Expected `array`, got `int`"),
        ({**WEATHER, "custom": {"mcp": {"title": 5}}}, "title: Expected `str`, got `int`"),
        ({**WEATHER, "custom": {"mcp": {"_meta": 5}}}, "_meta: Expected `object`, got `int`"),
        ({**WEATHER, "custom": {"mcp": {"description": 1}}}, "description: Expected `str`, got `int`"),
    ],
)
def test_a_card_is_never_invented(registry: Registry, fields: dict[str, Any], reason: str) -> None:
    """A server without an address over HTTP has no card, and the reason is given."""
    registry.register("weather", **fields)
    made = cards.server_card(registry["weather"])
    assert isinstance(made, cards.NoCard)
    assert reason in made.reason


def test_a_member_may_have_both(registry: Registry, base: str) -> None:
    """A member that speaks both protocols has both cards, and two entries in the catalogue."""
    registry.register("both", **{**WEATHER, "protocols": {"a2a", "mcp"}})
    entries = httpx.get(f"{base}/.well-known/ai-catalog.json").json()["entries"]
    assert [entry["identifier"].rpartition(":")[2] for entry in entries] == ["a2a", "mcp"]
    assert [httpx.get(entry["url"]).status_code for entry in entries] == [200, 200]


def test_the_publisher_is_a_domain() -> None:
    """What is no domain, and no base URL, is refused."""
    for wrong in ("", "a b", "-x", "exa/mple", "x:y"):
        with pytest.raises(ValueError, match="publisher="):
            cards.Site(publisher=wrong)
    with pytest.raises(ValueError, match="base_url="):
        cards.Site("example.com")
    assert cards.Site("https://example.com//").base_url == "https://example.com"
