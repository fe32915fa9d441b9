"""The AI Catalog and the ARD manifest: who is in them, and in which form."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import ard_publish
import httpx
import msgspec
import pytest

import adsum
from adsum import AsyncRegistry, ProcessId, Registry, cards
from adsum.testing import MemberFactory

from .conftest import PLANNER, WEATHER
from .server import serving

CATALOG = "/.well-known/ai-catalog.json"
MANIFEST = "/.well-known/ard.json"
QUERIES = ["plan a trip to Basel", "which train do I take"]


def plain(document: object) -> Any:
    """A document as a client has it."""
    return msgspec.json.decode(cards.encode(document))


def test_a_catalogue_lists_what_has_a_card(registry: Registry, base: str) -> None:
    """The AI Catalog has version 0.9, its own type, and one entry for each card, which leads to it."""
    registry.register("planner-1", **PLANNER)
    registry.register("weather", **WEATHER)
    registry.register("silent")
    registry.register("no-version", **{**PLANNER, "version": ""})
    response = httpx.get(base + CATALOG)
    assert response.headers["Content-Type"] == "application/ai-catalog+json"
    found = response.json()
    assert found["specVersion"] == "0.9"
    assert found["host"] == {"displayName": registry.node}
    assert [entry["type"] for entry in found["entries"]] == [
        "application/a2a-agent-card+json",
        "application/mcp-server-card+json",
    ]
    for entry in found["entries"]:
        assert set(entry) == {"identifier", "type", "url", "tags", "updatedAt"}
        assert datetime.fromisoformat(entry["updatedAt"]).tzinfo is not None
        assert httpx.get(entry["url"]).status_code == 200
    assert found["entries"][0]["tags"] == ["planning", "routing"]


def test_an_empty_registry_has_an_empty_catalogue(registry: Registry, base: str) -> None:
    """Where no member has a card, or there is no registry yet, a catalogue has no entries."""
    assert httpx.get(base + CATALOG).json()["entries"] == []
    assert [entry["type"] for entry in httpx.get(base + MANIFEST).json()["entries"]] == ["application/ai-registry+json"]
    assert registry.count() == 0


def test_the_dead_are_in_no_catalogue(adsum_registry: Registry, adsum_member: MemberFactory) -> None:
    """A member that is killed is in neither catalogue from then on."""
    member = adsum_member("planner-1", **PLANNER)
    with serving(adsum_registry) as base:
        assert len(httpx.get(base + CATALOG).json()["entries"]) == 1
        member.kill()
        assert httpx.get(base + CATALOG).json()["entries"] == []
        assert "planner" not in httpx.get(base + MANIFEST).text


def test_without_a_base_url_the_cards_are_inside(registry: Registry) -> None:
    """A catalogue that is not served has the cards in it, and each entry exactly one of `url` and `data`."""
    registry.register("planner-1", **PLANNER)
    registry.register("weather", **WEATHER)
    for made in (cards.catalog(registry), cards.manifest(registry)):
        entries = plain(made)["entries"]
        assert [set(entry) & {"url", "data"} for entry in entries] == [{"data"}, {"data"}]
        assert entries[0]["data"] == plain(cards.agent_card(registry["planner-1"]))
        assert entries[1]["data"] == plain(cards.server_card(registry["weather"]))


def test_a_manifest_passes_its_checker(registry: Registry, base: str) -> None:
    """The checker of ard-publish, which applies the rules of the ARD conformance tool, finds nothing in the manifest.

    Sample queries come from the examples of skills, or from `custom["ard"]`: the checker demands some.
    """
    skills = [{"id": "rail", "examples": QUERIES}]
    registry.register("planner-1", **PLANNER, custom={"a2a": {"skills": skills}})
    registry.register("weather", **WEATHER, custom={"ard": {"representativeQueries": ["rain in Kiel", "wind in Bern"]}})
    found = httpx.get(base + MANIFEST).json()
    own = found["entries"].pop()
    assert own["type"] == "application/ai-registry+json"
    assert own["url"] == f"{base}/"
    assert ard_publish.validate(found) == []
    assert found["entries"][0]["representativeQueries"] == QUERIES
    assert found["entries"][0]["metadata"]["health"] == "healthy"


def test_no_query_is_invented(registry: Registry) -> None:
    """A member without examples has no sample queries; fewer than two, which the schema refuses, are left out."""
    registry.register("planner-1", **PLANNER)
    registry.register("weather", **WEATHER, custom={"ard": {"representativeQueries": ["one"]}})
    assert ["representativeQueries" in entry for entry in plain(cards.manifest(registry))["entries"]] == [False, False]


def test_own_data_overrides_fields_of_the_manifest(registry: Registry) -> None:
    """`custom["ard"]` overrides what the search sees; what does not fit is left out, and liveness stays true."""
    given = {"displayName": "Trips", "tags": ["rail"], "metadata": {"alive": False, "zone": 3, "doing": "x"}}
    registry.register("planner-1", **PLANNER, custom={"ard": given})
    registry.register("planner-2", **PLANNER, custom={"ard": {"tags": 3}})
    first, second = plain(cards.manifest(registry))["entries"]
    assert (first["displayName"], first["tags"]) == ("Trips", ["rail"])
    assert (first["metadata"]["zone"], first["metadata"]["alive"]) == (3, True)
    # It does nothing, as its entry says.
    assert "doing" not in first["metadata"]
    assert second["tags"] == ["planning", "routing"]


def test_identifiers_keep_the_forms_of_both(registry: Registry) -> None:
    """An identifier has a publisher, a name and a kind, as AI Catalog 0.9 says, in the letters that ARD allows."""
    registry.register("a/b c:d_e.é", **PLANNER)
    (entry,) = plain(cards.catalog(registry, cards.Site(publisher="example.com")))["entries"]
    assert re.fullmatch(r"urn:air:example\.com:[a-zA-Z0-9._-]+:a2a", entry["identifier"])


async def test_an_async_registry_has_cards_too(registry: Registry, registry_folder: Any) -> None:
    """All of it works with an `AsyncRegistry`, whose reads are plain calls."""
    registry.register("planner-1", **PLANNER)
    async with adsum.open_async(path=registry_folder) as opened:
        assert isinstance(opened, AsyncRegistry)
        response = cards.respond(opened, cards.Request("GET", CATALOG, base_url="http://x"))
        assert response is not None
        assert len(msgspec.json.decode(response.body)["entries"]) == 1


def test_the_site_has_the_last_word(registry: Registry) -> None:
    """A site's own base URL is used in place of the one under which a request came."""
    registry.register("planner-1", **PLANNER)
    site = cards.Site("https://agents.example.com/adsum/", "example.com", "Example")
    with serving(registry, site) as base:
        found = httpx.get(base + CATALOG).json()
    assert found["host"] == {"displayName": "Example"}
    url = f"https://agents.example.com/adsum/agents/default/{registry.node}/planner-1/.well-known/agent-card.json"
    assert found["entries"][0]["url"] == url


@pytest.mark.parametrize("local_id", ["planner-1", "a_b", "a.b", "_", "__", "ä/ö", "%", "A_2E", "x" * 400])
def test_an_identifier_leads_back(local_id: str) -> None:
    """The member is known from its identifier."""
    process_id = ProcessId("default", "host.example", local_id)
    name = cards.identifier(process_id, "a2a", "example.com")
    assert cards.process_id(name, "example.com") == (process_id, "a2a")
    assert cards.process_id(name, "example.org") is None


@pytest.mark.parametrize(
    "name",
    [
        "a.b:a2a",
        "a.b.c_:a2a",
        "a.b.c_zz:a2a",
        "a.b.:a2a",
        "a.b.c_2e:a2a",
        "a.b.c_41:a2a",
        "a.b._FF:a2a",
        "a.b.c.d:a2a",
        "a.b.c",
    ],
)
def test_another_identifier_leads_nowhere(name: str) -> None:
    """A text that no member's identifier is, means no member: each member has one identifier."""
    assert cards.process_id(f"urn:air:example.com:{name}", "example.com") is None
