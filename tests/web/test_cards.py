"""The cards of members among the web pages: at their addresses, behind the same checks, and on the members' pages."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import adsum.web
from adsum import Registry

from .document import read

STATED: dict[str, Any] = {"protocols": {"a2a", "mcp"}, "description": "Plans trips.", "version": "1.0"}
PATHS = ["/.well-known/ai-catalog.json", "/.well-known/ard.json", "/agents"]


def _card(registry: Registry, name: str) -> str:
    return f"/agents/default/{registry.node}/{name}/.well-known/agent-card.json"


def test_a_card_goes_with_its_member(registry: Registry, client: TestClient) -> None:
    """A living member has its card, with a tag by which a client asks again; it goes with the member."""
    registry.register("planner", endpoint="http://127.0.0.1:9001", **STATED)
    path = _card(registry, "planner")
    answer = client.get(path)
    assert answer.json()["description"] == "Plans trips."
    assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert client.post("/search", json={"query": {"text": "trips"}}).status_code == 200
    registry.unregister("planner")
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", PATHS)
def test_cards_are_behind_the_same_checks(registry: Registry, client: TestClient, path: str) -> None:
    """Foreign names, other sites and clients without the token get no card, as they get no page."""
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 421
    assert client.post("/search", headers={"Origin": "http://evil.example"}).status_code == 403
    with TestClient(adsum.web.app(registry, token="a secret of many characters")) as locked:
        assert locked.get(path).status_code == 401


def test_a_catalogue_names_addresses_that_exist(registry: Registry) -> None:
    """Where the application is mounted below a path, the catalogue's addresses are below it, and lead to the cards."""
    registry.register("planner", endpoint="http://127.0.0.1:9001", **STATED)
    client = TestClient(Starlette(routes=[Mount("/x", adsum.web.app(registry))]))
    entries = client.get("/x/.well-known/ai-catalog.json").json()["entries"]
    assert len(entries) == 2
    for entry in entries:
        assert entry["url"].startswith("http://testserver/x/agents/")
        assert client.get(entry["url"]).status_code == 200


def test_a_page_leads_to_the_cards(registry: Registry, client: TestClient) -> None:
    """A member's page has a link to each of its cards; where its protocols ask for one that it has too little for, it
    says what is missing."""
    registry.register("planner", endpoint="http://127.0.0.1:9001", **STATED)
    registry.register("bare", protocols={"a2a"})
    page = read(client.get(f"/members/default/{registry.node}/planner").text)
    links = [link.attributes["href"] for link in page.find("a") if link.attributes["href"].startswith("/agents/")]
    assert len(links) == 2
    assert all(client.get(link).status_code == 200 for link in links)
    bare = read(client.get(f"/members/default/{registry.node}/bare").text)
    assert "a2a card none:" in bare.text
