"""A registry is a mapping from the ids of its namespace to their entries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import adsum
from adsum import Entry, NotRegistered, ProcessId, Registry
from tests.support import Agent


@pytest.fixture
def three(either: Registry) -> Registry:
    """A registry with a, b and c in its namespace, and d in another one."""
    either.register_many([("b", {}), ("a", {}), ("c", {}), (("other", "n", "d"), {})])
    return either


def test_both_kinds_are_mappings(registry_folder: Path) -> None:
    """`Registry` and `AsyncRegistry` are `collections.abc.Mapping`."""
    with adsum.open(path=registry_folder) as registry:
        assert isinstance(registry, Mapping)
    assert issubclass(adsum.AsyncRegistry, Mapping)


def test_length_and_iteration_are_of_the_namespace(three: Registry) -> None:
    """`len` counts and iteration lists the ids of the registry's own namespace, sorted."""
    assert len(three) == 3
    ids = list(three)
    assert [id.local_id for id in ids] == ["a", "b", "c"]
    assert all(isinstance(id, ProcessId) for id in ids)


def test_membership(three: Registry) -> None:
    """`in` takes a string, a tuple or a `ProcessId`, of any namespace."""
    present: list[object] = ["a", ("other", "n", "d"), ProcessId("other", "n", "d")]
    absent: list[object] = ["d", ("other", "n", "a"), "A"]
    assert all(id in three for id in present)
    assert not any(id in three for id in absent)


def test_indexing(three: Registry) -> None:
    """`registry[id]` returns the entry."""
    assert three["a"] == three.lookup("a")
    assert three[("other", "n", "d")].process_id.local_id == "d"


def test_a_missing_id_is_a_key_error(three: Registry) -> None:
    """`registry[id]` of an absent id raises `NotRegistered`, a `KeyError`, whose message says where to look."""
    with pytest.raises(KeyError) as caught:
        three["nobody"]
    assert isinstance(caught.value, NotRegistered)
    assert caught.value.reason == "not_registered"
    assert str(caught.value).endswith("see registry.list_all()")
    assert f"default/{three.node}/nobody is not registered" in str(caught.value)


def test_the_dead_are_missing(either: Registry) -> None:
    """S2: `registry[id]` of a dead process raises `NotRegistered` from the moment of its death."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        assert either["a"].pid == agent.pid
        agent.kill_unreaped()
        with pytest.raises(NotRegistered, match="has died"):
            either["a"]


def test_views(registry: Registry) -> None:
    """`keys`, `values`, `items` and `get` behave as those of a dictionary."""
    made = registry.register_many([("b", {}), ("a", {})])
    entries = [made[1].entry, made[0].entry]
    assert list(registry.keys()) == [entry.process_id for entry in entries]
    assert list(registry.values()) == entries
    assert dict(registry.items()) == dict(registry) == {entry.process_id: entry for entry in entries}
    assert registry.get(entries[0].process_id) == entries[0]
    nobody = ProcessId("default", "n", "nobody")
    assert registry.get(nobody) is None
    assert registry.get(nobody, entries[0]) == entries[0]


def test_views_do_not_fail_over_a_departure(registry: Registry) -> None:
    """A member may leave while a loop over `items` or `values` runs; the loop raises no error."""
    for view in (registry.values, registry.items):
        registry.register_many([("a", {}), ("b", {}), ("c", {})])
        seen: list[object] = []
        for member in view():
            seen.append(member)
            registry.unregister("b")
            registry.unregister("c")
        assert seen
        registry.unregister("a")


def test_iteration_survives_changes(three: Registry) -> None:
    """A loop over the ids covers those present at its start, whatever is written during the loop."""
    seen = []
    for id in three:
        seen.append(id.local_id)
        three.unregister(id)
        three.register(f"new-{id.local_id}")
    assert seen == ["a", "b", "c"]


def test_registries_are_compared_as_objects(registry: Registry) -> None:
    """A registry equals only itself and is hashable: it is a handle, not the value of its entries."""
    with adsum.open(path=registry.folder) as other:
        assert registry == registry
        assert registry != other
        assert registry != {}
        assert len({registry, other}) == 2


def test_an_empty_registry_is_falsy(registry: Registry) -> None:
    """A registry without entries is false, as an empty mapping is."""
    assert not registry
    registry.register("a")
    assert registry


def test_its_text_says_what_it_is(three: Registry) -> None:
    """`repr` shows folder, namespace and node, and no members."""
    text = repr(three)
    assert str(three.folder) in text
    assert f"namespace='default' node={three.node!r}" in text


def names(entries: list[Entry]) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


def test_namespaces_are_apart(registry: Registry) -> None:
    """I3, S7: the same node and local id in different namespaces name different entries."""
    spaces = ["s", "s2", "s/n", "S", "default"]
    with_each = [adsum.open(path=registry.folder, namespace=space, node="n", timeout=10) for space in spaces]
    for number, one in enumerate(with_each):
        one.register("a", capabilities={"x"}, endpoint=str(number))
    for number, one in enumerate(with_each):
        entry = one["a"]
        assert entry.metadata.endpoint == str(number)
        assert one.find() == one.find(capability="x", type="agent", health_status="healthy", node="n") == [entry]
        assert (len(one), one.count(capability="x"), one.choose(), list(one)) == (1, 1, entry, [entry.process_id])
        assert registry.find(namespace=spaces[number]) == registry.list_all(spaces[number]) == [entry]
    with_each[0].unregister("a")
    assert [len(one) for one in with_each] == [0, 1, 1, 1, 1]
    for one in with_each:
        one.close()


def test_the_default_namespace_is_the_registrys_own(registry: Registry) -> None:
    """`namespace=None` is the registry's own namespace, not all namespaces."""
    registry.register(("other", "n", "a"))
    assert registry.find(namespace=None) == registry.find() == []
    assert names(registry.find(namespace="other")) == ["a"]


def test_a_plain_name_may_be_asked_for(either: Registry) -> None:
    """A type checker, which also reads this test, accepts ``"name" in registry``."""
    either.register("a")
    assert "a" in either
    assert "b" not in either
    assert either["a"].process_id in either
