"""Filters, orders and chips of the list of members."""

from __future__ import annotations

import random
from typing import Any

import pytest
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

from adsum import ALL, InvalidQuery, Registry
from adsum.web.facets import select
from adsum.web.selection import parse_selection

from .document import Element, listed, read


@pytest.fixture
def team(registry: Registry) -> Registry:
    """Five members in two namespaces."""
    registry.register("planner", capabilities={"planning"}, resources={"tokens": 500}, doing="a report")
    registry.register(
        "coder-2",
        capabilities={"coding", "rust"},
        resources={"tokens": 2000},
        custom={"model": "small"},
        gauges={"load": 0.9},
    )
    registry.register("coder-10", capabilities={"coding"}, custom={"model": "large"}, gauges={"load": 0.1})
    registry.register("store", type="service", health_status="unhealthy", version="2.0")
    registry.register(("lab", registry.node, "coder-1"), capabilities={"coding"}, health_status="degraded")
    return registry


FILTERS = [
    ("", ["coder-2", "coder-10", "planner", "store", "lab/coder-1"]),
    ("q=coder", ["coder-2", "coder-10", "lab/coder-1"]),
    ("q=CODER+rust", ["coder-2"]),
    ("q=report", ["planner"]),
    ("q=tokens>=1000", ["coder-2"]),
    ("q=tokens<1000+model=small", []),
    ("q=coder+model=large", ["coder-10"]),
    ("q=custom.model!=small+coder", ["coder-10", "lab/coder-1"]),
    ("q='a report'", ["planner"]),
    ("q=version=2.0", ["store"]),
    ("health=degraded", ["lab/coder-1"]),
    ("type=service", ["store"]),
    ("namespace=lab", ["lab/coder-1"]),
    ("capability=coding", ["coder-2", "coder-10", "lab/coder-1"]),
    ("capability=coding&capability=rust", ["coder-2"]),
    ("sort=-id", ["lab/coder-1", "store", "planner", "coder-10", "coder-2"]),
    ("sort=health", ["store", "lab/coder-1", "coder-2", "coder-10", "planner"]),
    ("sort=type", ["coder-2", "coder-10", "planner", "lab/coder-1", "store"]),
    ("sort=up", ["lab/coder-1", "store", "coder-10", "coder-2", "planner"]),
    ("sort=load", ["coder-10", "coder-2", "planner", "store", "lab/coder-1"]),
    ("sort=-tokens", ["coder-2", "planner", "coder-10", "store", "lab/coder-1"]),
    ("limit=2", ["coder-2", "coder-10"]),
    ("namespace=nothing", []),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_the_address_says_what_is_shown(team: Registry, client: TestClient, query: str, expected: list[str]) -> None:
    """The address holds filter, chips, order and limit; the page and the JSON API understand it alike."""
    page = read(client.get(f"/?{query}").text)
    assert listed(page) == expected
    found = client.get(f"/api/members?{query}").json()["members"]
    assert [one["id"].split("/", 2)[2] for one in found] == [name.rpartition("/")[2] for name in expected]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("q=tokens>=many", "is no number"),
        ("q='open", "close the quotes"),
        ("q=custom.=1", "a name is empty"),
        ("q=" + "x" * 1001, "at most 1000"),
        ("health=fine", "give one of healthy, degraded, unhealthy"),
        ("type=robot", "give one of agent"),
        ("sort=-", "give id, health"),
        ("limit=-1", "give a whole number"),
        ("limit=x", "give a whole number"),
        ("limit=9999999999", "give a whole number"),
    ],
)
def test_what_is_impossible_is_refused(client: TestClient, query: str, said: str) -> None:
    """A query that no member can match is refused, with what to write instead."""
    with pytest.raises(InvalidQuery, match=said):
        parse_selection(QueryParams(query))
    answer = client.get(f"/api/members?{query}")
    assert answer.status_code == 400
    assert answer.json()["reason"] == "invalid_query"
    assert said in answer.json()["message"]


def _chips(page: Element, label: str) -> dict[str, tuple[int, str, bool]]:
    """The chips of a group: number, address, and whether one is chosen."""
    (group,) = [one for one in page.find("div", cls="group") if one.attributes.get("aria-label") == label]
    return {
        chip.find("span", cls="name")[0].text: (
            int(chip.find("span", cls="count")[0].text),
            chip.attributes["href"],
            "aria-current" in chip.attributes,
        )
        for chip in group.find("a", cls="chip")
        if chip.find("span", cls="count")
    }


def test_a_chip_counts_what_it_leads_to(team: Registry, client: TestClient) -> None:
    """The number on each chip is the number of members on the page that it leads to; a chosen chip leads back."""
    for query in ("", "?q=coder", "?health=healthy", "?health=healthy&namespace=lab", "?capability=coding"):
        page = read(client.get(f"/{query}").text)
        for label in ("Health", "Type", "Namespace", "Capability"):
            if not any(one.attributes.get("aria-label") == label for one in page.find("div", cls="group")):
                continue
            for name, (number, address, chosen) in _chips(page, label).items():
                there = read(client.get(address).text)
                if not chosen:
                    assert len(listed(there)) == number, (query, label, name)


def test_chips_count_as_a_search_does(team: Registry) -> None:
    """For any filter, total and counts are those of a search with it."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    entries = team.find(namespace=ALL)
    for _ in range(60):
        query: list[tuple[str, Any]] = [
            ("q", chance.choice(["", "coder", "tokens>=1000", "o", "model=small"])),
            ("health", chance.choice(["", "healthy", "degraded", "unhealthy"])),
            ("type", chance.choice(["", "agent", "service"])),
            ("namespace", chance.choice(["", "default", "lab"])),
            ("capability", chance.choice(["", "coding", "rust"])),
        ]
        selection = parse_selection(QueryParams(query))
        found = select(entries, selection)
        assert found.shown == selection.sorted([entry for entry in entries if selection.matches(entry)])
        for status in ("healthy", "degraded", "unhealthy"):
            other = parse_selection(QueryParams([pair for pair in query if pair[0] != "health"] + [("health", status)]))
            assert found.health[status] == sum(map(other.matches, entries))


@pytest.mark.parametrize("query", [query for query, _ in FILTERS])
def test_the_address_of_a_selection_means_the_same(query: str) -> None:
    """The address that is made of a selection is read as the same one."""
    selection = parse_selection(QueryParams(query))
    assert parse_selection(QueryParams(selection.query().removeprefix("?"))) == selection
