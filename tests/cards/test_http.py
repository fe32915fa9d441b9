"""Caching, methods and origins of all answers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from adsum import Registry, cards

from .conftest import PLANNER, WEATHER
from .server import serving


def card_url(base: str, registry: Registry, name: str = "planner-1") -> str:
    return f"{base}/agents/default/{registry.node}/{name}/.well-known/agent-card.json"


def test_a_card_is_sent_again_only_when_it_has_changed(registry: Registry, base: str) -> None:
    """With the tag of a card, which has its revision, a client gets 304 until the member changes."""
    registration = registry.register("planner-1", **PLANNER)
    url = card_url(base, registry)
    first = httpx.get(url)
    tag = first.headers["ETag"]
    assert tag.startswith('"1-healthy-')
    assert first.headers["Cache-Control"] == "no-cache"
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = httpx.get(url, headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    registration.update(doing="plans")
    changed = httpx.get(url, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"].startswith('"2-healthy-')
    registration.update_health("degraded")
    assert httpx.get(url).headers["ETag"].startswith('"3-degraded-')


def test_a_later_holder_has_another_tag(registry: Registry, registry_folder: Path) -> None:
    """A registry that is made anew counts revisions from the beginning, and no tag of it equals an earlier one."""
    import shutil

    import adsum

    def tag() -> str:
        with adsum.open(path=registry_folder, timeout=10) as opened:
            opened.register("planner-1", **PLANNER)
            request = cards.Request("GET", f"/agents/default/{opened.node}/planner-1/.well-known/agent-card.json")
            response = cards.respond(opened, request)
        assert response is not None
        assert response.status == 200
        adsum.admin.stop_registrar(registry_folder)
        shutil.rmtree(registry_folder)
        return response.headers["ETag"]

    first, second = tag(), tag()
    assert first.split("-")[:2] == second.split("-")[:2]
    assert first != second


@pytest.mark.parametrize("path", ["/.well-known/ai-catalog.json", "/.well-known/ard.json"])
def test_a_catalogue_has_a_tag_of_its_content(registry: Registry, base: str, path: str) -> None:
    """The tag of a catalogue changes with what is in it, and with nothing else."""
    registry.register("planner-1", **PLANNER)
    tag = httpx.get(base + path).headers["ETag"]
    registry.register("unrelated")
    assert httpx.get(base + path, headers={"If-None-Match": tag}).status_code == 304
    registry.register("weather", **WEATHER)
    assert httpx.get(base + path, headers={"If-None-Match": tag}).status_code == 200


def test_head_gives_the_headers(registry: Registry, base: str) -> None:
    """HEAD is answered as GET, without the body."""
    registry.register("planner-1", **PLANNER)
    paths = ("/.well-known/ai-catalog.json", "/.well-known/ard.json", "/agents", "/agents/x")
    for url in (card_url(base, registry), *(base + path for path in paths)):
        got, head = httpx.get(url), httpx.head(url)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert head.headers["Content-Length"] == str(len(got.content))
        assert head.headers.get("ETag") == got.headers.get("ETag")


def test_other_methods_are_refused(registry: Registry, base: str) -> None:
    """A path takes the methods that it names in `Allow`."""
    registry.register("planner-1", **PLANNER)
    response = httpx.put(card_url(base, registry))
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    response = httpx.get(f"{base}/search")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert httpx.request("OPTIONS", f"{base}/search").headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    "path", ["/", "/agents/", "/agents/a/b", "/agents/a/b/c", "/agents/a/b/c/d/server-card", "/agents//b/c/server-card"]
)
def test_other_paths_are_the_servers(registry: Registry, base: str, path: str) -> None:
    """For a path that is none of its own, `respond` gives nothing, and the server has its say."""
    assert httpx.get(base + path).headers["X-Other"] == "yes"


def test_pages_of_other_sites_see_nothing_by_default(registry: Registry, base: str) -> None:
    """A browser lets pages of other sites read the cards only where the site says so."""
    registry.register("planner-1", **PLANNER)
    assert "Access-Control-Allow-Origin" not in httpx.get(card_url(base, registry)).headers
    with serving(registry, cards.Site(any_origin=True)) as public:
        response = httpx.get(card_url(public, registry))
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Expose-Headers"] == "ETag"
        asked = httpx.request("OPTIONS", f"{public}/search").headers
        assert "POST" in asked["Access-Control-Allow-Methods"]
        assert httpx.get(f"{public}/agents/x").headers["Access-Control-Allow-Origin"] == "*"


def test_errors_of_the_registry_become_answers(registry: Registry, registry_folder: Path) -> None:
    """A closed registry is no reason for a server to fail: the client gets 503."""
    registry.close()
    response = cards.respond(registry, cards.Request("GET", "/.well-known/ai-catalog.json"))
    assert response is not None
    assert response.status == 503
    assert b"UNAVAILABLE" in response.body
