"""`adsum card` and `adsum catalog`."""

from __future__ import annotations

import msgspec
import pytest

from adsum import Registry, cards
from tests.cards.conftest import PLANNER, WEATHER

from .command import Command


def test_a_card_is_printed(members: Registry, command: Command) -> None:
    """With --json the card is what the protocol has; for people it is a few lines."""
    members.register("planner", **PLANNER)
    made = msgspec.json.decode(cards.encode(cards.agent_card(members["planner"])))
    assert command.document("card", "planner") == made
    shown = command("card", "planner").out
    assert "skills       planning, routing" in shown
    assert "addresses    http://127.0.0.1:9001/rpc (JSONRPC 1.0)" in shown
    members.register("weather", **WEATHER)
    assert command.document("card", "weather", "--publisher", "example.com")["name"].startswith("com.example/")
    assert "streamable-http" in command("card", "weather").out
    members.register("both", **{**WEATHER, "protocols": {"a2a", "mcp"}})
    assert "remotes" in command.document("card", "both", "--protocol", "mcp")
    assert "skills" in command.document("card", "both")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("absent",), "absent is not registered"),
        (("silent",), "silent has no card: its protocols do not name a2a; adsum update"),
        (("unversioned",), "unversioned has no card: it states no version"),
        (("planner", "--protocol", "mcp"), "planner has no card: its protocols do not name mcp"),
    ],
)
def test_a_member_without_a_card_says_why(
    members: Registry, command: Command, arguments: tuple[str, ...], says: str
) -> None:
    """Exit code 1, and on standard error what is missing; nothing is printed."""
    members.register("silent")
    members.register("unversioned", **{**PLANNER, "version": ""})
    members.register("planner", **PLANNER)
    answer = command("card", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert says in answer.err


def test_a_catalogue_is_printed(members: Registry, command: Command) -> None:
    """For people, the cards and why others have none; with --json, the documents that a server serves."""
    members.register("planner", **PLANNER)
    members.register("unversioned", **{**PLANNER, "version": ""})
    members.register("silent")
    lines = command("catalog").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["planner", "a2a"], ["unversioned", "a2a"]]
    assert lines[1].split()[2] == "urn:air:agent.localhost:default.here.planner:a2a"
    assert lines[2].endswith("it states no version")
    site = cards.Site("http://x", "example.com")
    options = ("--base-url", "http://x/", "--publisher", "example.com")
    catalog = msgspec.json.decode(cards.encode(cards.catalog(members, site)))
    assert command.document("catalog", *options) == catalog
    manifest = msgspec.json.decode(cards.encode(cards.manifest(members, site)))
    assert command.document("catalog", "--format", "ard", *options) == manifest
    assert command.document("catalog")["entries"][0]["data"]["name"] == "planner"


def test_a_wrong_site_is_a_usage_error(members: Registry, command: Command) -> None:
    """What is no domain or no URL is refused before anything is read."""
    for option, value in (("--publisher", "a b"), ("--base-url", "example.com")):
        answer = command("catalog", option, value)
        assert answer.code == 2
        assert answer.err.startswith(f"adsum: {option}=")


def test_an_absent_registry_is_not_an_empty_one(command: Command) -> None:
    """Without a registry the exit code is 1; the document is a catalogue without entries."""
    answer = command("catalog", "--json")
    assert answer.code == 1
    assert msgspec.json.decode(answer.out)["entries"] == []
    assert "there is no registry" in answer.err
