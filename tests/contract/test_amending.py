"""Updates that are decided from the present entry: merging, adding to numbers, and comparing the revision."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from adsum import Entry, InvalidMetadata, Limits, NotRegistered, Registry, Stale
from tests.support import Agent

CUSTOM = {"model": "small", "stats": {"done": 1, "failed": 2}, "tags": ["a"]}


def merged(either: Registry, before: dict[str, Any], patch: dict[str, Any]) -> Any:
    """The metadata after a merge."""
    either.register("a", **before)
    metadata = either.update("a", merge=True, **patch).metadata
    assert either["a"].metadata == metadata
    return metadata


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ({"model": "large"}, {**CUSTOM, "model": "large"}),
        ({"task": 7}, {**CUSTOM, "task": 7}),
        ({"model": None}, {"stats": CUSTOM["stats"], "tags": ["a"]}),
        ({"absent": None}, CUSTOM),
        ({"stats": {"done": 2}}, {**CUSTOM, "stats": {"done": 2, "failed": 2}}),
        ({"stats": {"failed": None}}, {**CUSTOM, "stats": {"done": 1}}),
        ({"stats": 3}, {**CUSTOM, "stats": 3}),
        ({"model": {"name": "small", "size": None}}, {**CUSTOM, "model": {"name": "small"}}),
        ({"tags": ["b"]}, {**CUSTOM, "tags": ["b"]}),
        ({}, CUSTOM),
    ],
    ids=range(10),
)
def test_custom_is_merged_key_by_key(either: Registry, patch: dict[str, Any], after: dict[str, Any]) -> None:
    """A merge sets the given keys of `custom`, removes those given as None, goes down into mappings, and keeps all
    other keys; lists are replaced (RFC 7396)."""
    assert merged(either, {"custom": CUSTOM}, {"custom": patch}).custom == after


def test_resources_are_merged_key_by_key(either: Registry) -> None:
    """A merge sets the given resources, removes those given as None, and keeps the others."""
    after = merged(
        either, {"resources": {"gpu": 1, "cpu": 4, "zone": "n"}}, {"resources": {"gpu": None, "cpu": 2, "x": "y"}}
    )
    assert after.resources == {"cpu": 2, "zone": "n", "x": "y"}


@pytest.mark.parametrize("field", ["capabilities", "coordination_variables", "protocols"])
def test_sets_are_merged_member_by_member(either: Registry, field: str) -> None:
    """A set that is merged adds its members; as a mapping it adds those with True and removes those with None."""
    after = merged(either, {field: {"x", "y"}}, {field: {"z"}})
    assert getattr(after, field) == {"x", "y", "z"}
    patch: dict[str, Any] = {field: {"w": True, "x": None, "absent": None}}
    after = either.update("a", merge=True, **patch).metadata
    assert getattr(after, field) == {"w", "y", "z"}


def test_indexes_follow_a_merge(either: Registry) -> None:
    """I2: after a merge a query finds the entry by its present capabilities only."""
    either.register("a", capabilities={"x", "y"})
    after = either.update("a", merge=True, capabilities={"y": None, "z": True})
    assert either.find(capability={"x", "z"}) == [after]
    assert either.find(capability="y") == []
    assert either.audit() == []


def test_other_fields_are_replaced_by_a_merge(either: Registry) -> None:
    """In a merge, fields that are no mapping and no set are replaced; a list is one of them."""
    after = merged(
        either,
        {"endpoint": "x", "node_affinity": ["n1"], "custom": {"a": 1}},
        {"endpoint": None, "node_affinity": ["n2"]},
    )
    assert (after.endpoint, after.node_affinity, after.custom) == (None, ["n2"], {"a": 1})


def test_numbers_are_added_to(either: Registry) -> None:
    """`add` adds to numbers in `custom` and `resources`; what is absent counts as 0, in mappings inside too."""
    registration = either.register("a", custom={"done": 1, "stats": {"x": 0.5}}, resources={"tokens": 100})
    add = {"custom.done": 2, "custom.stats.x": 1, "custom.new": 1, "custom.deep.down": -1, "resources.tokens": -0.5}
    metadata = registration.update(add=add).metadata
    assert metadata.custom == {"done": 3, "stats": {"x": 1.5}, "new": 1, "deep": {"down": -1}}
    assert metadata.resources == {"tokens": 99.5}
    assert either.update("a", add={"resources.gpu.memory": 4}).metadata.resources == {"tokens": 99.5, "gpu.memory": 4}


def test_fields_come_before_additions(either: Registry) -> None:
    """In one update the fields are set first, whole or merged, and then the additions are made."""
    either.register("a", custom={"done": 5, "x": 1})
    assert either.update("a", merge=True, custom={"done": 1}, add={"custom.done": 2}).metadata.custom == {
        "done": 3,
        "x": 1,
    }
    assert either.update("a", custom={"y": 1}, add={"custom.done": 2}).metadata.custom == {"y": 1, "done": 2}


@pytest.mark.parametrize(
    ("custom", "path", "number", "said"),
    [
        ({"done": "x"}, "custom.done", 1, r"metadata\.custom\['done'\]: 'x' is no number"),
        ({"done": True}, "custom.done", 1, r"metadata\.custom\['done'\]: True is no number"),
        ({"done": None}, "custom.done", 1, r"metadata\.custom\['done'\]: None is no number"),
        ({"done": {}}, "custom.done", 1, r"metadata\.custom\['done'\]: {} is no number"),
        ({"done": 1}, "custom.done.x", 1, r"metadata\.custom\['done'\]: 1 is no dict"),
        (
            {"done": 2**64 - 1},
            "custom.done",
            1,
            r"metadata\.custom\['done'\]: 18446744073709551616 does not fit 64 bits",
        ),
        ({"done": 1e308}, "custom.done", 1e308, r"metadata\.custom\['done'\]: inf is no finite number"),
        ({}, "custom", 1, r"add: 'custom' names no number"),
        ({}, "custom.", 1, r"add: 'custom\.' is no path"),
        ({}, "custom..x", 1, r"add: 'custom\.\.x' is no path"),
        ({}, "endpoint.x", 1, r"add: 'endpoint\.x' is no path"),
        ({}, "done", 1, r"add: 'done' is no path"),
        ({}, 3, 1, r"add: 3 is no path"),
        ({}, "custom.done", "1", r"add: custom\.done: '1' is no number"),
        ({}, "custom.done", True, r"add: custom\.done: True is no number"),
        ({}, "custom.done", float("nan"), r"add: custom\.done: nan is no finite number"),
        ({}, "custom.done", 2**64, r"add: custom\.done: 18446744073709551616 does not fit"),
        ({}, "resources.\0", 1, r"metadata\.resources: .* contains a NUL"),
    ],
    ids=range(18),
)
def test_what_is_no_number_is_refused_by_its_path(
    either: Registry, custom: dict[str, Any], path: Any, number: Any, said: str
) -> None:
    """An addition to anything but a number, or of anything but a number, is `InvalidMetadata` that names the path, and
    the whole update changes nothing."""
    before = either.register("a", custom=custom).entry
    with pytest.raises(InvalidMetadata, match=said):
        either.update("a", endpoint="x", add={path: number})
    assert either["a"] == before


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"capabilities": {"x": False}}, r"metadata\.capabilities\['x'\]: False; give True to add"),
        ({"capabilities": {"": True}}, r"metadata\.capabilities: '' is empty"),
        ({"capabilities": "x"}, r"metadata\.capabilities"),
        ({"resources": {"x": []}}, r"metadata\.resources\['x'\]"),
        ({"resources": {"": 1}}, r"metadata\.resources: '' is empty"),
        ({"resources": ["x"]}, r"metadata\.resources"),
        ({"custom": {"x": object()}}, r"metadata\.custom\['x'\]"),
        ({"custom": None}, r"metadata\.custom"),
        ({"capabilites": {"x"}}, r"metadata\.capabilites: no such field; do you mean capabilities"),
    ],
    ids=range(9),
)
def test_a_wrong_merge_is_refused_by_its_path(either: Registry, patch: dict[str, Any], said: str) -> None:
    """A merge is checked as any metadata: the error names the path, and nothing is changed."""
    before = either.register("a", capabilities={"y"}).entry
    with pytest.raises(InvalidMetadata, match=said):
        either.update("a", merge=True, **patch)
    assert either["a"] == before


def test_limits_hold_for_the_whole_result(opener: Any) -> None:
    """I4: a small merge into large metadata is refused where the result is too large."""
    registry = opener(limits=Limits(max_metadata_bytes=1000, max_capabilities=2))
    registry.register("a", custom={"x": "x" * 800}, capabilities={"x", "y"})
    with pytest.raises(InvalidMetadata, match="1000"):
        registry.update("a", merge=True, custom={"y": "y" * 300})
    with pytest.raises(InvalidMetadata, match="3 given, this registry admits 2"):
        registry.update("a", merge=True, capabilities={"z"})
    assert registry.update("a", merge=True, capabilities={"z": True, "x": None}).metadata.capabilities == {"y", "z"}


@pytest.mark.parametrize("mistake", [{"merge": 1}, {"merge": None}, {"add": [("custom.x", 1)]}, {"add": "custom.x"}])
def test_a_mistake_in_the_call_is_a_type_error(either: Registry, mistake: dict[str, Any]) -> None:
    """`merge` is True or False and `add` a mapping."""
    either.register("a")
    with pytest.raises(TypeError, match=next(iter(mistake))):
        either.update("a", **mistake)


def test_the_present_revision_may(either: Registry) -> None:
    """With `if_revision` of the present entry an update succeeds; the `Revision` of an event serves as well."""
    registration = either.register("a")
    with either.watch("a") as watch:
        entry = either.update("a", if_revision=registration.entry.revision, endpoint="x")
        event = watch.next(10)
    assert (event.revision, entry.metadata.endpoint) == (entry.revision, "x")
    assert either.update("a", if_revision=event.revision, endpoint="y").metadata.endpoint == "y"


def test_another_revision_is_stale(either: Registry) -> None:
    """Compare and swap: with an older revision an update is `Stale`, which carries the present entry, and changes
    nothing. `Registration.update` compares too."""
    registration = either.register("a")
    seen = registration.entry.revision
    present = either.update("a", custom={"by": "another"})
    calls: list[Callable[[], Entry]] = [
        lambda: either.update("a", if_revision=seen, endpoint="x"),
        lambda: either.update("a", if_revision=present.revision + 1, merge=True, custom={"x": 1}),
        lambda: registration.update(if_revision=seen, add={"custom.x": 1}),
    ]
    for call in calls:
        with pytest.raises(Stale, match=rf"at revision {present.revision} now") as caught:
            call()
        assert caught.value.entry == present
        assert pickle.loads(pickle.dumps(caught.value)).entry == present
    assert either["a"] == present


def test_another_incarnation_is_stale_with_its_entry(either: Registry) -> None:
    """`Stale` for another incarnation carries the present entry too."""
    first = either.register("a")
    either.unregister("a")
    second = either.register("a").entry
    with pytest.raises(Stale) as caught:
        first.update(merge=True, custom={"x": 1})
    assert caught.value.entry == second


@pytest.mark.parametrize("wrong", ["1", 1.5, -1, 2**64, True], ids=repr)
def test_a_revision_is_a_whole_number(either: Registry, wrong: Any) -> None:
    """An invalid revision is refused as the caller's mistake."""
    either.register("a")
    with pytest.raises(ValueError, match="if_revision="):
        either.update("a", if_revision=wrong)


def test_what_is_not_registered_cannot_be_amended(either: Registry) -> None:
    """A merge, an addition and a comparison raise `NotRegistered` where no member is registered, before and after the
    registry is made."""
    for registered in ("a", "b"):
        ways: list[dict[str, Any]] = [{"merge": True}, {"add": {"custom.x": 1}}, {"if_revision": 1}]
        for how in ways:
            with pytest.raises(NotRegistered):
                either.update("never", **how)
        either.register(registered)


def test_any_process_may_amend_any_entry(either: Registry) -> None:
    """Another process merges and adds; the owner stays the same."""
    with Agent(either.folder) as agent:
        either.register("a", custom={"x": 1})
        agent.do("registry.update('a', merge=True, custom={'y': 2}, add={'custom.x': 1})")
        assert (either["a"].metadata.custom, either["a"].pid != agent.pid) == ({"x": 2, "y": 2}, True)
