"""Entries are immutable values that processes can share and pickle."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AsyncRegistry, Entry, Metadata, Registry
from tests.support import eventually


@pytest.fixture
def registered(either: Registry) -> Registry:
    """A registry with the entry a, which has nested data."""
    either.register("a", custom={"map": {"x": 1}, "list": [1, [2]]}, resources={"gpu": 1}, node_affinity=["n"])
    return either


def test_entries_can_be_kept_in_sets(either: Registry) -> None:
    """Two reads of an unchanged entry are equal and hash alike; a read after a change differs."""
    either.register("a", custom={"list": [1]}, resources={"gpu": 1})
    members = {either["a"], *either.find()}
    assert members == {either["a"]}
    either.update("a", custom={"list": [2]})
    assert len(members | set(either.find())) == 2


ATTEMPTS: dict[str, Callable[[Any], object]] = {
    "field": lambda entry: setattr(entry, "pid", 1),
    "new field": lambda entry: setattr(entry, "colour", "red"),
    "metadata": lambda entry: setattr(entry, "metadata", None),
    "metadata field": lambda entry: setattr(entry.metadata, "endpoint", "x"),
    "delete": lambda entry: delattr(entry.metadata, "endpoint"),
    "id": lambda entry: setattr(entry.process_id, "local_id", "b"),
    "capability": lambda entry: entry.metadata.capabilities.add("x"),
    "variable": lambda entry: entry.metadata.coordination_variables.add("x"),
    "affinity append": lambda entry: entry.metadata.node_affinity.append("m"),
    "affinity item": lambda entry: entry.metadata.node_affinity.__setitem__(0, "m"),
    "affinity sort": lambda entry: entry.metadata.node_affinity.sort(),
    "affinity +=": lambda entry: entry.metadata.node_affinity.__iadd__(["m"]),
    "resource": lambda entry: entry.metadata.resources.__setitem__("gpu", 2),
    "resource update": lambda entry: entry.metadata.resources.update(gpu=2),
    "resource |=": lambda entry: entry.metadata.resources.__ior__({"gpu": 2}),
    "custom": lambda entry: entry.metadata.custom.__setitem__("new", 1),
    "custom pop": lambda entry: entry.metadata.custom.pop("map"),
    "custom popitem": lambda entry: entry.metadata.custom.popitem(),
    "custom clear": lambda entry: entry.metadata.custom.clear(),
    "custom setdefault": lambda entry: entry.metadata.custom.setdefault("new", 1),
    "custom del": lambda entry: entry.metadata.custom.__delitem__("map"),
    "map inside": lambda entry: entry.metadata.custom["map"].__setitem__("x", 2),
    "list inside": lambda entry: entry.metadata.custom["list"].append(3),
    "list inside a list": lambda entry: entry.metadata.custom["list"][1].clear(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_inside_an_entry_can_be_changed(registered: Registry, attempt: str) -> None:
    """An attempt to change an entry, or anything in it, is an error, and later lookups return the stored data."""
    entry = registered["a"]
    before = pickle.dumps(entry)
    with pytest.raises((AttributeError, TypeError)):
        ATTEMPTS[attempt](entry)
    assert pickle.dumps(entry) == before
    assert registered["a"] == registered.find()[0] == pickle.loads(before)


def test_the_error_says_what_to_do(registered: Registry) -> None:
    """The error for an attempt to change an entry names `update`."""
    with pytest.raises(TypeError, match=r"copy it, and use update\(\)"):
        registered["a"].metadata.custom["new"] = 1


def test_what_was_given_is_copied(either: Registry) -> None:
    """Changing the data after a registration changes nothing in the entry."""
    custom: dict[str, Any] = {"list": [1]}
    capabilities = {"x"}
    entry = either.register("a", custom=custom, capabilities=capabilities).entry
    custom["list"].append(2)
    capabilities.add("y")
    assert entry.metadata.custom == either["a"].metadata.custom == {"list": [1]}
    assert either["a"].metadata.capabilities == {"x"}


def test_a_copy_of_the_data_is_ones_own(registered: Registry) -> None:
    """The data of an entry can be copied into plain dictionaries and lists, and passed to an update."""
    custom = dict(registered["a"].metadata.custom)
    custom["list"] = [*custom["list"], 3]
    assert registered.update("a", custom=custom).metadata.custom == {"map": {"x": 1}, "list": [1, [2], 3]}
    again = registered.update("a", custom=registered["a"].metadata.custom)
    assert again.metadata.custom == custom


def test_an_unchanged_entry_is_decoded_once(registered: Registry) -> None:
    """Lookups of an unchanged entry return the same object; after a change they return a new one."""
    entry = registered["a"]
    assert registered["a"] is entry
    registered.update("a", endpoint="x")
    assert registered["a"] is not entry
    assert entry.metadata.endpoint is None


def test_entries_pickle(registered: Registry) -> None:
    """An entry is equal after pickling and deep copying, and stays immutable."""
    entry = registered["a"]
    for twin in (pickle.loads(pickle.dumps(entry)), copy.deepcopy(entry), copy.copy(entry)):
        assert twin == entry
        assert isinstance(twin, Entry)
        assert isinstance(twin.metadata, Metadata)
        with pytest.raises(TypeError):
            twin.metadata.custom["map"]["x"] = 2


def test_departures_and_stats_pickle(registered: Registry) -> None:
    """Departures and statistics can be pickled."""
    registered.unregister("a")
    for value in (registered.departures(), registered.stats()):
        assert pickle.loads(pickle.dumps(value)) == value


def serve(registry: Registry, id: str) -> None:
    """Register through a registry that arrived by pickle. Runs in a spawned process."""
    registry.register(id, endpoint=f"{registry.namespace}/{registry.node}/{registry.timeout}")
    assert registry.lookup("parent") is not None
    registry.register(f"{id}-stays").hand_over(registry["parent"].pid)
    registry.close()


def test_a_registry_goes_to_a_spawned_process(registry_folder: Path) -> None:
    """A pickled registry opens the same folder in another process, with the same namespace, node and timeout."""
    with adsum.open(path=registry_folder, namespace="team", node="rack", timeout=9.5) as registry:
        registry.register("parent")
        child = multiprocessing.get_context("spawn").Process(target=serve, args=(registry, "child"))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        child.close()
        assert [id.local_id for id in registry] == ["child-stays", "parent"]
        eventually(lambda: registry.stats().entries == 2)
        ended = {gone.entry.process_id.local_id: gone.entry for gone in registry.departures()}
        assert ended["child"].metadata.endpoint == "team/rack/9.5"


async def test_an_async_registry_pickles(registry_folder: Path) -> None:
    """A pickled `AsyncRegistry` is an `AsyncRegistry` again."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        await registry.register("a")
        async with pickle.loads(pickle.dumps(registry)) as twin:
            assert isinstance(twin, AsyncRegistry)
            assert twin["a"] == registry["a"]
            assert await twin.unregister("a")


def test_a_path_that_was_relative_arrives_absolute(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry opened by a relative path refers to the same folder after pickling and a change of directory."""
    monkeypatch.chdir(registry_folder.parent)
    with adsum.open(path="registry") as registry:
        packed = pickle.dumps(registry)
    monkeypatch.chdir("/")
    with pickle.loads(packed) as twin:
        assert twin.folder == registry_folder
