"""Cards and catalogues beside the pages of `adsum web`."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest
from a2a.client import A2ACardResolver
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import adsum.web
from adsum import ProcessId, Registry, cards
from tests.cards.conftest import PLANNER, WEATHER

from .server import Server

TOKEN = "a-secret-of-many-characters"


async def _name_of_card(base: str, headers: dict[str, str]) -> str:
    async with httpx.AsyncClient(headers=headers) as client:
        return (await A2ACardResolver(client, base).get_agent_card()).name


@pytest.mark.parametrize("options", [(), ("--prefix", "/adsum", "--token", TOKEN)], ids=["plain", "behind-a-prefix"])
def test_clients_find_the_cards(registry: Registry, options: tuple[str, ...]) -> None:
    """A client of A2A goes from the catalogue to a member's card, below a prefix and with a token too."""
    registry.register("planner/1", **PLANNER)
    registry.register(ProcessId("other", registry.node, "weather"), **WEATHER)
    headers = {"Authorization": f"Bearer {TOKEN}"} if options else {}
    with Server(registry.folder, *options) as server:
        base = server.url.rstrip("/")
        found = httpx.get(f"{base}/.well-known/ai-catalog.json", headers=headers)
        assert found.headers["Content-Type"] == "application/ai-catalog+json"
        urls = [entry["url"] for entry in found.json()["entries"]]
        assert len(urls) == 2
        assert all(url.startswith(f"{base}/agents/") for url in urls)
        agent = urls[0].removesuffix("/.well-known/agent-card.json")
        assert asyncio.run(_name_of_card(agent, headers)) == "planner/1"
        assert httpx.get(urls[1], headers=headers).json()["title"] == "weather"
        tag = httpx.get(urls[0], headers=headers).headers["ETag"]
        assert httpx.get(urls[0], headers={**headers, "If-None-Match": tag}).status_code == 304
        body = {"query": {"text": "weather in Kiel"}}
        results = httpx.post(f"{base}/search", json=body, headers=headers).json()["results"]
        assert [result["displayName"] for result in results] == ["weather"]
        assert results[0]["source"] == f"{base}/"
        for entry in httpx.get(f"{base}/.well-known/ard.json", headers=headers).json()["entries"]:
            assert httpx.get(f"{base}/agents/{entry['identifier']}", headers=headers).json() == entry
        assert httpx.get(f"{base}/agents/nothing/here", headers=headers).status_code == 404


def test_the_guard_stands_before_the_cards(registry: Registry) -> None:
    """Who may not see the pages sees no card: without the token, under a foreign name, from a page of another site."""
    registry.register("planner-1", **PLANNER)
    with Server(registry.folder, "--token", TOKEN) as server:
        url = f"{server.url}.well-known/ai-catalog.json"
        given = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(url, headers=given).status_code == 200
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={**given, "Host": "evil.example"}).status_code == 421
        response = httpx.post(f"{server.url}search", json={}, headers={**given, "Origin": "http://evil.example"})
        assert response.status_code == 403
        assert "Access-Control-Allow-Origin" not in httpx.get(url, headers=given).headers


def test_only_what_the_pages_show_has_a_card(registry: Registry) -> None:
    """The namespace that the pages are limited to is that of the cards."""
    registry.register("planner-1", **PLANNER)
    registry.register(ProcessId("other", registry.node, "planner-2"), **PLANNER)
    with Server(registry.folder, "--namespace", "other") as server:
        entries = httpx.get(f"{server.url}.well-known/ard.json").json()["entries"]
        assert [entry["displayName"] for entry in entries[:-1]] == ["planner-2"]
        path = f"agents/default/{registry.node}/planner-1/.well-known/agent-card.json"
        assert httpx.get(server.url + path).status_code == 404


def test_a_mounted_application_has_its_own_publisher(registry: Registry) -> None:
    """Mounted in another application, the cards have the URLs of that place, and the publisher that was given."""
    registry.register("planner-1", **PLANNER)
    inner = adsum.web.app(registry, cards=cards.Site(publisher="example.com"))
    outer = Starlette(routes=[Mount("/tools/adsum", inner)])
    with TestClient(outer) as client:
        (entry,) = client.get("/tools/adsum/.well-known/ai-catalog.json").json()["entries"]
        assert entry["identifier"].startswith("urn:air:example.com:")
        assert urlsplit(entry["url"]).path.startswith("/tools/adsum/agents/default/")
        assert client.get(urlsplit(entry["url"]).path).json()["name"] == "planner-1"


def test_a_large_body_is_not_read_whole(registry: Registry) -> None:
    """A search of more than 64 KiB is refused."""
    with Server(registry.folder) as server:
        body = b'{"query": {"text": "' + b"x" * 200_000 + b'"}}'
        assert httpx.post(f"{server.url}search", content=body).status_code == 413


def test_a_wrong_publisher_is_a_usage_error(registry: Registry) -> None:
    """What is no domain is refused before anything is served."""
    from tests.cli.command import Command

    answer = Command(registry.folder)("web", "--publisher", "a b", "--path", registry.folder)
    assert (answer.code, answer.out) == (2, "")
    assert "--publisher='a b'" in answer.err
