"""Owned entries when the registrar dies: over the death of the owner, or before it."""

from __future__ import annotations

from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.support import Agent, Child, eventually, kill_registrar, remove_folder

from .failpoint import Failpoint


def test_an_owner_that_dies_without_a_registrar(registry: Registry) -> None:
    """The next registrar ends what a dead member owned, also where that member was unregistered before."""
    with Child("input()") as planner, Child("input()") as gone:
        registry.register("planner", planner.process)
        registry.register("gone", gone.process)
        registry.register("tool", owned_by="planner")
        registry.register("other", owned_by="gone")
        registry.unregister("gone")
        kill_registrar(registry.folder)
        planner.kill()
        gone.kill()
    registry.register("next")
    assert [id.local_id for id in registry] == ["next"]
    assert sorted(one.how for one in registry.departures()) == ["died", "owner_died", "owner_died", "unregistered"]
    assert registry.audit() == []


def test_the_next_registrar_watches_owners(registry: Registry) -> None:
    """A registrar that takes over knows the owners of its predecessor's entries: their deaths end what they own."""
    with Child("input()") as planner:
        registry.register("planner", planner.process)
        registry.register("tool", owned_by="planner")
        registry.unregister("planner")
        kill_registrar(registry.folder)
        registry.register("next")
        assert "tool" in registry
        planner.kill()
        eventually(lambda: "tool" not in registry)


@pytest.mark.parametrize("step", ["before_commit", "after_commit"])
def test_a_registrar_that_dies_over_the_death(
    step: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar that dies over the death of an owner leaves all of its entries or none; the next one ends all."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    with adsum.open(path=registry_folder, timeout=10) as registry, Child("input()") as planner:
        registry.register("planner", planner.process)
        registry.register_many([("a", {}), ("b", {})], owned_by="planner")
        failpoint.arm()
        planner.kill()
        eventually(lambda: failpoint.reached)
        registry.register("next")
        assert [id.local_id for id in registry] == ["next"]
        assert sorted(one.how for one in registry.departures()) == ["died", "owner_died", "owner_died"]
        assert registry.audit() == []


def test_owned_entries_come_back_with_their_owner(registry: Registry) -> None:
    """When the folder of the registry goes, an owned entry is registered anew with the same owner, and ends with it."""
    with Agent(registry.folder) as planner, Agent(registry.folder) as tool:
        planner.do("registration = registry.register('planner')")
        tool.do("registration = registry.register('tool', owned_by='planner')")
        before = tool.value("registration.entry")
        remove_folder(registry.folder)
        eventually(lambda: tool.value("registration.entry") != before)
        eventually(lambda: "tool" in registry)
        assert registry["tool"].owned_by == before.owned_by
        planner.kill()
        eventually(lambda: "tool" not in registry)
        assert registry.departures(1)[0].how == "owner_died"


def test_an_owner_that_died_while_there_was_no_folder(registry: Registry) -> None:
    """An owned entry does not come back when its owner has died with the registry."""
    with Agent(registry.folder) as planner, Agent(registry.folder) as tool:
        planner.do("registry.register('planner')")
        tool.do("registration = registry.register('tool', owned_by='planner')")
        tool.do("other = registry.register('other')")
        kill_registrar(registry.folder)
        planner.kill()
        remove_folder(registry.folder)
        eventually(lambda: "other" in registry)
        eventually(lambda: tool.value("registration.entry.incarnation") == 0)
        assert "tool" not in registry
