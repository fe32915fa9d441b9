"""What members say about themselves in words: their description, version, protocols and what they are doing."""

from __future__ import annotations

from typing import Any

import pytest

import adsum
from adsum import InvalidMetadata, MetadataKeywords, Registry, Timeout
from tests.support import WITHIN, Agent

MEMBERS: list[tuple[Any, MetadataKeywords]] = [
    ("planner", {"description": "Makes PLANS.\nOf all kinds.", "version": "1.2", "protocols": {"a2a", "http"}}),
    ("worker-1", {"capabilities": {"Draft-Letters", "print"}, "doing": "reads the report of Größe"}),
    ("worker-2", {"capabilities": {"planning"}, "doing": "waits", "health_status": "degraded"}),
    (("elsewhere", "n", "other"), {"doing": "plans"}),
]

FOUND: list[tuple[dict[str, Any], list[str]]] = [
    ({"text": "PLAN"}, ["planner", "worker-2"]),
    ({"text": "makes plans"}, ["planner"]),
    ({"text": "plans.\nof"}, ["planner"]),
    ({"text": "draft-"}, ["worker-1"]),
    ({"text": "lettersprint"}, []),
    ({"text": "Worker"}, ["worker-1", "worker-2"]),
    ({"text": "GRÖSSE"}, ["worker-1"]),
    ({"text": "the report"}, ["worker-1"]),
    ({"text": ".*"}, []),
    ({"text": "elsewhere"}, []),
    ({"text": "1.2"}, []),
    ({"text": None}, ["planner", "worker-1", "worker-2"]),
    ({"text": "plan", "health_status": "degraded"}, ["worker-2"]),
    ({"text": "plan", "capability": "print"}, []),
    ({"text": "plan", "namespace": adsum.ALL}, ["planner", "worker-2", "other"]),
]


@pytest.fixture
def team(either: Registry) -> Registry:
    """A registry with three members in its namespace, and one in another."""
    either.register_many(MEMBERS)
    return either


def names(entries: list[adsum.Entry]) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


@pytest.mark.parametrize(("conditions", "found"), FOUND, ids=range(len(FOUND)))
def test_a_text_is_looked_for_in_each_field(team: Registry, conditions: dict[str, Any], found: list[str]) -> None:
    """`text` matches a part of the local id, the description, one capability or `doing`, whatever the case, and no
    pattern; `find`, `count` and `choose` agree."""
    assert names(team.find(**conditions)) == found
    assert team.count(**conditions) == len(found)
    healthy = {one for one in found if one != "worker-2"}
    chosen = {team.choose(**conditions) for _ in range(20)} if "health_status" not in conditions else set()
    assert {entry.process_id.local_id for entry in chosen if entry is not None} <= healthy
    assert (None in chosen) == (not healthy and "health_status" not in conditions)


def test_what_a_member_is_doing_changes_often(either: Registry) -> None:
    """`update(doing=)` of a registration and of a registry changes that field alone; a search sees each change."""
    registration = either.register("a", description="Works.", version="2", protocols={"mcp"})
    before = registration.entry.metadata
    for task in ("first", "second", "third"):
        assert either.find(text=task) == []
        entry = registration.update(doing=task)
        assert either.find(text=task) == [entry]
    assert either.update("a", doing="").metadata == before


def test_another_process_reads_them(either: Registry) -> None:
    """S1: each field is read in another process, with its type."""
    either.register_many(MEMBERS)
    with Agent(either.folder) as agent:
        assert agent.value("registry['planner'].metadata.description") == "Makes PLANS.\nOf all kinds."
        assert agent.value("registry['planner'].metadata.protocols") == frozenset({"a2a", "http"})
        assert agent.value("registry['planner'].metadata.version") == "1.2"
        assert agent.value("registry.count(text='größe')") == 1


def test_a_text_is_waited_for_and_watched(registry: Registry) -> None:
    """`wait_for`, `watch` and `follow` take `text`: an update by which a member starts or ceases to match is seen."""
    registration = registry.register("a", doing="waits")
    with pytest.raises(Timeout):
        registry.wait_for(text="report", timeout=0.01)
    with registry.watch(text="report") as watch, registry.follow(text="report") as team:
        assert not team
        matching = registration.update(doing="reads the Report")
        assert registry.wait_for(text="report", timeout=WITHIN) == [matching]
        assert registry.wait_for("a", text="REPORT", timeout=WITHIN) == matching
        assert list(team.values()) == [matching]
        changed = registration.update(doing="")
        events = [watch.next(WITHIN), watch.next(WITHIN)]
        assert not team
    assert [(event.kind, event.entry) for event in events] == [("registered", matching), ("unregistered", changed)]


def test_a_member_is_claimed_by_a_text(either: Registry) -> None:
    """A claim takes `text`, which the registrar compares: only a member that matches is claimed."""
    either.register_many([("a", {"doing": "prints"}), ("b", {"doing": "reads"})])
    claim = either.claim(text="READ")
    assert claim.entry.process_id.local_id == "b"
    claim.release()


def test_a_merge_admits_no_more_protocols_than_a_call(either: Registry) -> None:
    """I4: protocols are counted after a merge as well, and a merge that is refused changes nothing."""
    before = either.register("a", protocols=set(map(str, range(31)))).entry
    with pytest.raises(InvalidMetadata, match=r"metadata\.protocols: 33 given, at most 32"):
        either.update("a", merge=True, protocols={"x", "y"})
    assert either["a"] == before
    assert len(either.update("a", merge=True, protocols={"x": True, "y": True, "0": None}).metadata.protocols) == 32
    assert either.audit() == []


def test_members_without_protocols_share_one_empty_set(registry: Registry) -> None:
    """An entry that states no protocols keeps no set of its own in memory."""
    registry.register_many([(str(number), {}) for number in range(3)])
    assert len({id(entry.metadata.protocols) for entry in registry.find()}) == 1
