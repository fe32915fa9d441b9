"""Limits: what a full registry refuses, what still works, and how it recovers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import InvalidMetadata, Limits, Registry, RegistryFull
from adsum._store.layout import encode
from tests.support import Agent, Opener, eventually

PAST = datetime(2020, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def test_metadata_may_be_as_large_as_the_limit(opener: Opener) -> None:
    """Metadata of exactly `max_metadata_bytes`, encoded, is accepted; one byte more is refused."""
    limit = 2000
    registry = opener(limits=Limits(max_metadata_bytes=limit))
    times: dict[str, Any] = {"created_at": PAST, "last_health_check": PAST}
    room = limit - len(encode(registry.register("a", custom={"a": "x" * 300}, **times).entry.metadata)) + 300
    stored = registry.register("b", custom={"a": "x" * room}, **times).entry
    assert len(encode(stored.metadata)) == limit
    with pytest.raises(InvalidMetadata, match=f"{limit + 1} bytes encoded, this registry admits {limit}"):
        registry.register("c", custom={"a": "x" * (room + 1)}, **times)
    with pytest.raises(InvalidMetadata, match="keep large data elsewhere"):
        registry.update("a", custom={"a": "x" * (room + 1)})


def test_capabilities_may_be_as_many_as_the_limit(opener: Opener) -> None:
    """`max_capabilities` capabilities are accepted; one more is refused."""
    registry = opener(limits=Limits(max_capabilities=3))
    registry.register("a", capabilities={"1", "2", "3"})
    for call in (registry.update, lambda _, **fields: registry.register("b", **fields)):
        with pytest.raises(InvalidMetadata, match="4 given, this registry admits 3"):
            call("a", capabilities={"1", "2", "3", "4"})


def test_256_capabilities_by_default(either: Registry) -> None:
    """A registry with default limits accepts 256 capabilities."""
    names = {str(number) for number in range(256)}
    either.register("a", capabilities=names)
    assert either.count(capability=names) == 1
    with pytest.raises(InvalidMetadata, match="257 given"):
        either.register("b", capabilities=names | {"one more"})


def test_a_capability_and_its_namespace_share_511_bytes(opener: Opener) -> None:
    """A capability is refused if it and the namespace exceed 511 bytes together; at exactly 511 bytes it is found."""
    registry = opener(namespace="s" * 400, node="n")
    registry.register("a", capabilities={"x" * 110})
    assert registry.count(capability="x" * 110) == 1
    with pytest.raises(InvalidMetadata, match="shorten one of them"):
        registry.register("b", capabilities={"x" * 111})


@pytest.fixture
def small(opener: Opener) -> Registry:
    """A registry for three entries, with three entries."""
    registry = opener(limits=Limits(max_entries=3))
    registry.register_many([("a", {"custom": {"size": "x" * 100}}), ("b", {}), ("c", {})])
    return registry


def test_a_full_registry_refuses_registrations(small: Registry) -> None:
    """At `max_entries` a registration raises `RegistryFull`, which names the limit and two remedies."""
    for register in (
        lambda: small.register("d"),
        lambda: small.get_or_register("d"),
        lambda: small.register_many([("d", {})]),
    ):
        with pytest.raises(RegistryFull, match="max_entries is 3; unregister some, or make") as caught:
            register()
        assert caught.value.reason == "registry_full"
    assert len(small) == 3


def test_a_full_registry_goes_on(small: Registry) -> None:
    """At `max_entries` lookups, updates, health updates and unregistrations work, and an unregistration makes room."""
    assert small.lookup("a") is not None
    assert small.update("a", capabilities={"x"}).metadata.capabilities == {"x"}
    assert small.update_health("b", "degraded").metadata.health_status == "degraded"
    assert small.get_or_register("c")[1] is False
    assert small.unregister("c")
    small.register("d")
    assert [id.local_id for id in small] == ["a", "b", "d"]


def test_many_need_room_for_all(small: Registry) -> None:
    """`register_many` with more ids than there is room for registers none of them."""
    small.unregister("a")
    with pytest.raises(RegistryFull):
        small.register_many([("d", {}), ("e", {})])
    assert [id.local_id for id in small] == ["b", "c"]


def test_the_dead_make_room(opener: Opener) -> None:
    """An entry whose process has died uses no room: a full registry accepts a new entry as soon as an owner dies."""
    registry = opener()
    with Agent(registry.folder, limits=Limits(max_entries=2)) as agent:
        agent.do("registry.register_many([('a', {}), ('b', {})])")
        with pytest.raises(RegistryFull):
            registry.register("c")
        agent.kill()
    eventually(lambda: registry.stats().entries == 0)
    registry.register("c")


def test_the_limits_are_chosen_when_the_registry_is_made(small: Registry, opener: Opener) -> None:
    """The limits are those of the client that made the registry; a later client's limits change nothing."""
    with pytest.warns(UserWarning, match="max_entries"):
        later = opener(limits=Limits(max_entries=100))
    with pytest.raises(RegistryFull):
        later.register("d")


MEGABYTE = 1024 * 1024


def fill(registry: Registry) -> int:
    """Register until the registry is full; returns the number of entries."""
    for number in range(10_000):
        try:
            registry.register(f"fill-{number}", custom={"ballast": "x" * 3000}, capabilities={"ballast"})
        except RegistryFull:
            return number
    raise AssertionError("30 MB went into one")


def test_memory_is_bounded(opener: Opener) -> None:
    """S4: at `max_memory_bytes` registrations are refused; the memory in use never exceeds the limit."""
    registry = opener(limits=Limits(max_memory_bytes=MEGABYTE))
    filled = fill(registry)
    with pytest.raises(RegistryFull, match="unregister some entries, store less metadata, or make"):
        registry.register("late", custom={"ballast": "x" * 3000})
    stats = registry.stats()
    assert filled > 100
    assert stats.entries == filled == len(registry)
    assert MEGABYTE // 2 < stats.bytes_used <= stats.bytes_limit == MEGABYTE


def test_without_memory_all_else_goes_on(opener: Opener) -> None:
    """In a registry without memory left, reads, health updates, unregistrations and shrinking updates work."""
    registry = opener(limits=Limits(max_memory_bytes=MEGABYTE))
    filled = fill(registry)
    assert registry.lookup("fill-0") is not None
    assert registry.count(capability="ballast") == filled
    assert registry.update_health("fill-1", "degraded").metadata.health_status == "degraded"
    assert registry.update("fill-1", custom={}).metadata.custom == {}
    with pytest.raises(RegistryFull):
        registry.update("fill-2", custom={"ballast": "x" * 60_000})
    with pytest.raises(RegistryFull):
        registry.update("fill-2", merge=True, custom={"more": "x" * 60_000})
    seen = registry["fill-2"].revision
    assert registry.update("fill-2", if_revision=seen, health_status="degraded").revision > seen
    assert registry.update("fill-2", merge=True, custom={"ballast": None}).metadata.custom == {}
    assert registry.get_or_register("fill-3")[1] is False
    assert registry.unregister("fill-4")
    assert registry.audit() == []


def test_a_registry_without_memory_recovers(opener: Opener) -> None:
    """After entries are unregistered there is room again, each time the registry is filled."""
    registry = opener(limits=Limits(max_memory_bytes=MEGABYTE))
    first = fill(registry)
    for _ in range(3):
        for number in range(first):
            registry.unregister(f"fill-{number}")
        assert len(registry) == 0
        assert fill(registry) >= first * 9 // 10


def test_shrinking_makes_room(opener: Opener) -> None:
    """Updates that shrink entries free memory: a registration that was refused is accepted afterwards."""
    registry = opener(limits=Limits(max_memory_bytes=MEGABYTE))
    filled = fill(registry)
    for number in range(filled):
        registry.update(f"fill-{number}", custom={})
    registry.register("late", custom={"ballast": "x" * 3000})


def test_the_dead_give_memory_back(opener: Opener) -> None:
    """Cleanup needs no free memory: when the owner of a full registry dies, its entries go and there is room."""
    registry = opener()
    with Agent(registry.folder, limits=Limits(max_memory_bytes=MEGABYTE)) as agent:
        agent.do("from tests.contract.test_limits import fill")
        filled = agent.value("fill(registry)")
        with pytest.raises(RegistryFull):
            registry.register("mine", custom={"ballast": "x" * 3000})
        agent.kill()
    assert len(registry) == 0
    eventually(lambda: registry.stats().entries == 0)
    assert fill(registry) >= filled * 9 // 10


@pytest.mark.parametrize("size", [0, 100, 1000, 2100, 5000, 20_000, 60_000])
def test_memory_is_bounded_whatever_the_sizes(registry_folder: Path, size: int) -> None:
    """S4 holds for entries of any size: the registry refuses writes before LMDB's own map is full."""
    together = min(50, 400_000 // (size + 500))

    def fill_quickly(registry: Registry) -> None:
        for start in range(0, 100_000, together):
            registry.register_many(
                [(f"{number:06}", {"custom": {"ballast": "x" * size}}) for number in range(start, start + together)]
            )

    with adsum.open(path=registry_folder, timeout=10, limits=Limits(max_memory_bytes=MEGABYTE)) as registry:
        with pytest.raises(RegistryFull, match="of 1048576 bytes"):
            fill_quickly(registry)
        assert registry.stats().bytes_used <= MEGABYTE
        assert registry.audit() == []
