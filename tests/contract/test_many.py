"""Calls about several entries at once: `register_many` as a block, `update_many`, `unregister_many`."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import (
    InvalidMetadata,
    InvalidProcessId,
    Limits,
    MetadataKeywords,
    NotRegistered,
    Registry,
    RegistryFull,
    UpdateKeywords,
    VersionMismatch,
    _wording,
)
from tests.support import Agent, Opener

ARMS: list[tuple[str, MetadataKeywords]] = [("left", {"type": "service"}), ("right", {"capabilities": {"lift"}})]


def ids(registry: Registry) -> list[str]:
    return [entry.process_id.local_id for entry in registry.find()]


# A block


def test_a_block_unregisters_all_together(either: Registry) -> None:
    """At the end of the block all of its entries are gone, at consecutive revisions that no reader sees apart."""
    either.register("other")
    with either.register_many(ARMS) as arms:
        assert ids(either) == ["left", "other", "right"]
        before = either.stats().revision
        watch = either.watch()
    assert ids(either) == ["other"]
    with watch:
        events = [watch.next(timeout=10) for _ in arms]
    assert [(event.kind.value, event.revision) for event in events] == [
        ("unregistered", before + 1),
        ("unregistered", before + 2),
    ]


def test_the_registrations_are_a_list(either: Registry) -> None:
    """What `register_many` returns is the list that it was: length, index, slice, iteration, equality."""
    arms = either.register_many(ARMS)
    assert isinstance(arms, list)
    assert (len(arms), arms[-1].process_id.local_id, len(arms[:1])) == (2, "right", 1)
    assert arms == [arms[0], arms[1]]
    assert [arm.process_id.local_id for arm in arms] == ["left", "right"]
    assert either.register_many([]) == []


def test_a_block_leaves_later_holders_alone(either: Registry) -> None:
    """Entries that were unregistered or registered anew inside the block are not the block's any more."""
    with either.register_many([*ARMS, ("middle", {})]):
        either.unregister("left")
        either.unregister("right")
        later = either.register("right").entry
    assert either.find() == [later]


def test_unregistering_says_which_were_there(either: Registry) -> None:
    """`unregister` of the registrations gives a result for each, and a second time there is none."""
    arms = either.register_many(ARMS)
    arms[0].unregister()
    assert arms.unregister() == [False, True]
    assert arms.unregister() == [False, False]
    assert either.register_many([]).unregister() == []


def test_an_older_registrar_removes_them_one_by_one(either: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the registrar does not know the request to remove several, the block removes each by itself."""

    def refused(*_: object) -> None:
        raise VersionMismatch("this registrar is older than its client")

    with either.register_many([*ARMS, ("middle", {})]):
        either.unregister("left")
        either.unregister("right")
        later = either.register("right").entry
        monkeypatch.setattr("adsum._calls.Calls.unregister_many", refused)
    assert either.find() == [later]
    with pytest.raises(VersionMismatch):
        either.unregister_many(["right"])


def test_the_blocks_own_error_comes_out(opener: Opener) -> None:
    """An error of the block comes out unchanged, and the entries are gone; where they cannot be removed, too."""
    registry, other = opener(), opener()
    with pytest.raises(ZeroDivisionError), registry.register_many(ARMS):
        raise ZeroDivisionError
    assert ids(other) == []

    def fail() -> None:
        registry.close()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), registry.register_many(ARMS):
        fail()


def test_an_empty_block_does_nothing(either: Registry) -> None:
    """A block of no registrations is possible."""
    with either.register_many([]) as none:
        assert none == []


def test_a_forked_child_ends_nothing(registry: Registry) -> None:
    """A child that leaves the block removes none of the parent's entries."""
    with registry.register_many(ARMS):
        if (child := os.fork()) == 0:
            try:
                registry.register_many([]).__exit__(None, None, None)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        block = registry.register_many([("third", {})])
        if (child := os.fork()) == 0:
            try:
                block.__exit__(None, None, None)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert ids(registry) == ["left", "right", "third"]


# Removing many


def test_many_are_removed_at_once(either: Registry) -> None:
    """`unregister_many` gives a result for each id in order; absent ones are no error, and a repeated one is there
    once."""
    either.register_many([(name, {}) for name in "abc"])
    assert either.unregister_many(["b", "x", "a", "b"]) == [True, False, True, False]
    assert ids(either) == ["c"]
    assert [departure.how for departure in either.departures()] == ["unregistered", "unregistered"]
    assert either.unregister_many([]) == []
    assert either.unregister_many(entry.process_id for entry in either.find()) == [True]


def test_standbys_of_all_are_granted(opener: Opener) -> None:
    """Each of the ids goes to its standby, in the commit that removes the entries."""
    registry, other = opener(), opener()
    with Agent(registry.folder) as holder:
        holder.do("registry.register_many([('a', {}), ('b', {})])")
        waiting = [other.stand_by(name) for name in "ab"]
        assert registry.unregister_many(["a", "b"]) == [True, True]
        assert [future.result(timeout=10).process_id.local_id for future in waiting] == ["a", "b"]


def test_removal_in_a_registry_that_does_not_exist(either: Registry) -> None:
    """Where there is no registry, nothing is removed, and none is made."""
    assert either.unregister_many(["a", "b"]) == [False, False]
    assert either.stats().registrar_pid is None


@pytest.mark.parametrize("given", ["ab", b"bytes", {"a": 1}, 7, adsum.ProcessId("default", "n", "a")])
def test_one_id_is_not_several(either: Registry, given: Any) -> None:
    """A single id, or anything else that is no collection of ids, is a `TypeError`."""
    with pytest.raises(TypeError, match="give several ids"):
        either.unregister_many(given)


def test_an_impossible_id_removes_none(either: Registry) -> None:
    """With one impossible id among them, none is removed."""
    either.register("a")
    for bad in ("", "x" * 500, 7):
        with pytest.raises(InvalidProcessId):
            either.unregister_many(["a", bad])  # type: ignore[list-item]
    assert ids(either) == ["a"]


def test_a_full_registry_removes_many(opener: Opener) -> None:
    """Removing several entries needs no room: it goes on in a full registry."""
    registry = opener(limits=Limits(max_entries=2))
    registry.register_many(ARMS)
    with pytest.raises(RegistryFull):
        registry.register("third")
    assert registry.unregister_many(["left", "right"]) == [True, True]


def test_removed_members_do_not_come_back(registry_folder: Path) -> None:
    """After `unregister_many` this process keeps nothing that it would register anew."""
    with adsum.open(path=registry_folder) as registry:
        registry.register_many(ARMS)
        registry.unregister_many(["left"])
        kept = registry._client.keeper._kept
        assert [id.local_id for id in kept] == ["right"]


# Changing many


def test_many_are_changed_together(either: Registry) -> None:
    """`update_many` replaces the fields of each entry, at consecutive revisions; indexes follow."""
    either.register_many(ARMS)
    before = either.stats().revision
    left, right = either.update_many([("left", {"capabilities": {"hold"}}), ("right", {"health_status": "degraded"})])
    assert (left.revision, right.revision) == (before + 1, before + 2)
    assert (left.metadata.type.value, sorted(left.metadata.capabilities)) == ("service", ["hold"])
    assert either.find(capability="hold") == [left] == [either["left"]]
    assert either.find(health_status="degraded") == [right]
    assert either.audit() == []
    assert either.update_many([]) == []


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (("absent", {}), NotRegistered, r"absent is not registered .*none of the 3 entries was changed"),
        (("right", {"capabilites": {"x"}}), InvalidMetadata, "capabilites"),
        (("right", {"type": "pilot"}), InvalidMetadata, "pilot"),
        (("", {}), InvalidProcessId, "empty"),
        (("left", {}), InvalidProcessId, "the same id twice"),
        (("right", {"capabilities": {str(n) for n in range(300)}}), InvalidMetadata, "admits 256"),
    ],
)
def test_all_or_none_are_changed(
    either: Registry, bad: tuple[Any, UpdateKeywords], error: type[Exception], message: str
) -> None:
    """Where one of the updates is refused, wherever it is among them, no entry is changed."""
    either.register_many([*ARMS, ("middle", {})])
    before, revision = either.find(), either.stats().revision
    good: list[tuple[str, UpdateKeywords]] = [("left", {"endpoint": "x:1"}), ("middle", {"endpoint": "x:2"})]
    for items in ([bad, *good], [*good, bad]):
        with pytest.raises(error, match=message):
            either.update_many(items)
    assert (either.find(), either.stats().revision) == (before, revision)


def test_many_grow_together_or_not_at_all(opener: Opener) -> None:
    """Entries that have no room together are refused together; health is reported in a full registry all the same."""
    registry = opener(limits=Limits(max_memory_bytes=2 * 1024 * 1024))
    registry.register_many([(str(number), {}) for number in range(40)])
    large: UpdateKeywords = {"custom": {"data": "x" * 60_000}}
    with pytest.raises(RegistryFull):
        registry.update_many([(str(number), large) for number in range(40)])
    assert all(not entry.custom for entry in registry.find())
    entries = registry.update_many([(str(number), {"health_status": "degraded"}) for number in range(40)])
    assert len(registry.find(health_status="degraded")) == len(entries) == 40
    assert registry.update_many([("0", large), ("1", large)])[1].custom["data"][:2] == "xx"


def test_the_dead_are_not_changed(either: Registry) -> None:
    """S2: an entry whose process is dead is not registered, and then none is changed."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('dead')")
        either.register_many(ARMS)
        agent.kill_unreaped()
        both: list[tuple[str, UpdateKeywords]] = [("dead", {}), ("left", {"endpoint": "x:1"})]
        for items in (both, both[::-1]):
            with pytest.raises(NotRegistered, match="dead"):
                either.update_many(items)
    assert either["left"].endpoint is None


def test_a_status_from_another_process_says_so(either: Registry) -> None:
    """`health_source` and heartbeats follow as in `update`."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a', heartbeat=0.05)")
        either.wait_for("a", timeout=10)
        either.wait_for(health_status="unhealthy", timeout=10)
        (entry,) = either.update_many([("a", {"heartbeat": None})])
        assert (entry.metadata.health_status.value, entry.health_source.value) == ("healthy", "process")
        (entry,) = either.update_many([("a", {"health_status": "degraded"})])
        assert entry.health_source.value == "other"


@pytest.mark.parametrize("items", [["a"], [("a", {}, 1)], "text", [("a",)], {"a": {}}])
def test_an_item_that_is_no_pair_is_refused(either: Registry, items: Any) -> None:
    """Items are pairs, as in `register_many`."""
    with pytest.raises(TypeError, match="give pairs of an id and its metadata"):
        either.update_many(items)


def test_no_registry_is_made_for_a_change(either: Registry) -> None:
    """Where there is no registry, `update_many` names the first id, and makes none."""
    with pytest.raises(NotRegistered, match=re.escape(f"there is no registry in {either.folder}")):
        either.update_many([("left", {})])
    assert either.stats().registrar_pid is None


def test_the_arguments_that_are_recognised_are_those_of_register() -> None:
    """The list is kept by hand."""
    parameters = set(inspect.signature(Registry.register).parameters) - {"self", "id", "metadata"}
    assert set(_wording._ARGUMENTS) == parameters


def test_an_argument_of_other_calls_is_refused_by_its_name(either: Registry) -> None:
    """A name for the whole cluster is asked for alone: among many it would be taken for metadata."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.everywhere: .* everywhere= is an argument of other calls"):
        either.register_many([("a", {"everywhere": True})])  # type: ignore[typeddict-unknown-key]
    assert len(either) == 0
