"""The search of ARD, and the look-up of an identifier."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from adsum import Registry

from .conftest import PLANNER, WEATHER

TYPES = {"a2a": "application/a2a-agent-card+json", "mcp": "application/mcp-server-card+json"}


@pytest.fixture(autouse=True)
def _members(registry: Registry) -> None:
    registry.register("planner-1", **PLANNER, doing="plans a trip to Basel")
    registry.register("weather", **WEATHER).update_health("degraded")


def search(base: str, text: str, filter: dict[str, Any] | None = None, **more: object) -> Any:
    """The answer to a search; the status of a refused one."""
    body = {"query": {"text": text, **({"filter": filter} if filter else {})}, **more}
    response = httpx.post(f"{base}/search", json=body)
    return response.json() if response.status_code == 200 else response.status_code


def names(found: Any) -> list[str]:
    return [result["displayName"] for result in found["results"]]


def test_a_search_finds_by_words(base: str) -> None:
    """Words of a name, a capability, a description or what a member is doing find it, with a score and its source."""
    found = search(base, "find me a weather forecast tool")
    (result,) = found["results"]
    assert 0 < result["score"] <= 100
    assert isinstance(result["score"], int)
    assert result["source"] == f"{base}/"
    assert result["type"] == TYPES["mcp"]
    assert httpx.get(result["url"]).status_code == 200
    assert "representativeQueries" not in result
    assert names(search(base, "Basel")) == ["planner-1"]
    assert names(search(base, "routing")) == ["planner-1"]
    assert search(base, "astronomy")["results"] == []


def test_the_best_comes_first(base: str, registry: Registry) -> None:
    """A member that has more of the words, or has them in its name, has the higher score; equals are in order."""
    registry.register("trains", **{**PLANNER, "description": "Something else.", "capabilities": set()})
    found = search(base, "train planning")
    assert names(found)[0] == "planner-1"
    scores = [result["score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert search(base, "forecast")["results"][0]["score"] == 100
    assert search(base, "forecasting")["results"][0]["score"] < 100


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"type": [TYPES["a2a"]]}, ["planner-1"]),
        ({"type": TYPES["mcp"]}, ["weather"]),
        ({"capabilities": ["forecast", "planning"]}, ["planner-1", "weather"]),
        ({"capabilities": ["planning"], "type": [TYPES["mcp"]]}, []),
        ({"metadata.health": ["degraded"]}, ["weather"]),
        ({"metadata.alive": ["true"]}, ["planner-1", "weather"]),
        ({"metadata.absent": ["x"]}, []),
        ({"publisher": ["agent.localhost"]}, ["planner-1", "weather"]),
        ({"publisher": ["example.com"]}, []),
        ({"version": ["1.4.0"]}, ["planner-1"]),
        ({"tags": ["routing"]}, ["planner-1"]),
        ({"displayName": ["weather"]}, ["weather"]),
    ],
)
def test_a_filter_compares_values(base: str, filter: dict[str, Any], found: list[str]) -> None:
    """Within a key any of the values will do; all keys must hold."""
    assert sorted(names(search(base, "trips weather", filter))) == found


def test_pages_follow_each_other(base: str, registry: Registry) -> None:
    """A search gives a page and the token of the next one; together they are all results, each once."""
    planner: Any = PLANNER
    registry.register_many([(f"more-{number}", planner) for number in range(24)])
    found: list[str] = []
    token = ""
    for _ in range(10):
        page = search(base, "planning", pageSize=7, pageToken=token)
        found += names(page)
        if not (token := page.get("pageToken", "")):
            break
    assert len(found) == len(set(found)) == 25
    assert len(names(search(base, "planning"))) == 10
    assert len(names(search(base, "planning", pageSize=1000))) == 25


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"query": {}}',
        b'{"query": {"text": ""}}',
        b'{"query": {"text": "?!"}}',
        b'{"query": {"text": "x"}, "pageSize": 0}',
        b'{"query": {"text": "x"}, "pageSize": "5"}',
        b'{"query": {"text": "x"}, "pageToken": "%%%"}',
        b'{"query": {"text": "x"}, "pageToken": "LTE="}',
        b'{"query": {"text": "x"}, "federation": "all"}',
        b'{"query": {"text": "x"}, "limit": 5}',
        b'{"query": {"text": "x", "filter": {"trustManifest.identity": ["x"]}}}',
        b'{"query": {"text": "x", "filter": {"type": 1}}}',
        b'{"query": {"text": "x", "filter": {"acme:zone": "x"}}}',
    ],
)
def test_a_wrong_search_is_refused(base: str, body: bytes) -> None:
    """What is no search gets 400, and the word of ARD for it."""
    response = httpx.post(f"{base}/search", content=body)
    assert response.status_code == 400
    assert response.json()["errorCode"] == "INVALID_ARGUMENT"
    assert response.json()["message"]


def test_a_large_body_is_refused(base: str) -> None:
    """A body of more than 64 KiB is not read as a search."""
    body = b'{"query": {"text": "' + b"x" * 70_000 + b'"}}'
    assert httpx.post(f"{base}/search", content=body).status_code == 413


def test_all_modes_of_federation_are_taken(base: str) -> None:
    """This registry asks no other, so every mode gives its own results; a context is accepted."""
    for mode in ("auto", "referrals", "none"):
        assert names(search(base, "weather", federation=mode)) == ["weather"]
    body = {"query": {"text": "weather", "@context": {"x": "https://example.com/ns#"}}}
    assert httpx.post(f"{base}/search", json=body).status_code == 200


def test_an_identifier_is_looked_up(base: str, registry: Registry) -> None:
    """The entry of an identifier is what the manifest has of it, without what a search adds; so for the registry."""
    manifest = httpx.get(f"{base}/.well-known/ard.json").json()["entries"]
    for entry in manifest:
        response = httpx.get(f"{base}/agents/{quote(entry['identifier'], safe='')}")
        assert response.json() == entry
    registry.unregister("weather")
    assert httpx.get(f"{base}/agents/{quote(manifest[1]['identifier'], safe='')}").status_code == 404


@pytest.mark.parametrize(
    ("identifier", "status", "word"),
    [
        ("urn:air:agent.localhost:default.here.absent:a2a", 404, "NOT_FOUND"),
        ("urn:air:agent.localhost:default.here.absent:fax", 404, "NOT_FOUND"),
        ("urn:air:example.com:server:weather", 404, "NOT_FOUND"),
        ("planner-1", 400, "INVALID_ARGUMENT"),
        ("urn:ai:example.com:x", 400, "INVALID_ARGUMENT"),
    ],
)
def test_an_unknown_identifier_is_told_from_a_wrong_one(base: str, identifier: str, status: int, word: str) -> None:
    """A text that could be an identifier gets 404, any other 400."""
    response = httpx.get(f"{base}/agents/{quote(identifier, safe='')}")
    assert (response.status_code, response.json()["errorCode"]) == (status, word)


def test_a_broken_encoding_is_refused(base: str) -> None:
    """A path that is no percent-encoded UTF-8 gets 400, for an identifier and for a card."""
    assert httpx.get(f"{base}/agents/%FF").status_code == 400
    assert httpx.get(f"{base}/agents/default/here/%FF/server-card").status_code == 400
    assert httpx.get(f"{base}/agents/default/here/%00/server-card").status_code == 400


def test_entries_are_listed_in_pages(base: str) -> None:
    """GET /agents gives a page of all entries, and refuses filters that it does not have."""
    first = httpx.get(f"{base}/agents", params={"pageSize": 1}).json()
    assert [entry["displayName"] for entry in first["items"]] == ["planner-1"]
    assert first["total"] == 2
    second = httpx.get(f"{base}/agents", params={"pageSize": 1, "pageToken": first["pageToken"]}).json()
    assert [entry["displayName"] for entry in second["items"]] == ["weather"]
    assert "pageToken" not in second
    assert httpx.get(f"{base}/agents", params={"filter": "type = x"}).status_code == 400
    assert httpx.get(f"{base}/agents", params={"pageSize": "many"}).status_code == 400


def test_explore_is_not_implemented(base: str) -> None:
    """The optional part of ARD that is not here says so with 501."""
    assert httpx.post(f"{base}/explore", json={"resultType": {"facets": []}}).status_code == 501
