"""Registering: one id, several ids, or the id's current holder if there is one; blocking or with a future."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import (
    AlreadyRegistered,
    AsyncRegistration,
    InvalidMetadata,
    InvalidProcessId,
    MetadataKeywords,
    Registration,
    Registry,
)
from tests.support import Agent, Opener, eventually


def test_a_registration_carries_its_entry(either: Registry) -> None:
    """`register` returns the registration, whose entry equals the one that every lookup returns."""
    registration = either.register("a", capabilities={"x"})
    assert registration.process_id == registration.entry.process_id == (either.namespace, either.node, "a")
    assert either.lookup("a") == registration.entry
    assert registration.entry.registered_at == registration.entry.last_updated
    assert registration.entry.incarnation == registration.entry.revision


def test_a_held_id_is_already_registered(either: Registry) -> None:
    """A second registration of a held id is refused with the holder's entry, even from the same process."""
    holder = either.register("a", capabilities={"x"}).entry
    with pytest.raises(AlreadyRegistered) as caught:
        either.register("a")
    assert caught.value.entry == holder
    assert caught.value.reason == "already_registered"
    assert either.list_all() == [holder]


def test_an_id_held_elsewhere_is_already_registered(either: Registry) -> None:
    """The holder in the error may be another process."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a', endpoint='here')")
        with pytest.raises(AlreadyRegistered, match="use another id, wait until it ends, or get_or_reg") as caught:
            either.register("a", replace=True)
        assert (caught.value.entry.pid, caught.value.entry.metadata.endpoint) == (agent.pid, "here")


def test_an_id_held_by_oneself_names_the_remedies(either: Registry) -> None:
    """Where the caller itself is the holder, the error says so, and does not advise to wait until it ends."""
    either.register("a")
    with pytest.raises(AlreadyRegistered, match="this very process") as caught:
        either.register("a")
    for remedy in ("replace=True", "get_or_register()", "update()"):
        assert remedy in str(caught.value)
    assert "wait" not in str(caught.value)


def test_an_id_held_by_oneself_is_replaced(either: Registry) -> None:
    """With `replace`, the process that holds an id registers it anew: another incarnation, with the new metadata alone.
    A free id is registered as always."""
    before = either.register("a", capabilities={"x"}, endpoint="here").entry
    made = either.register_many([("a", {"capabilities": {"y"}}), ("b", {})], replace=True)
    after = either["a"]
    assert made[0].entry == after
    assert after.incarnation > before.incarnation
    assert (after.metadata.capabilities, after.metadata.endpoint) == (frozenset({"y"}), None)
    assert [entry.process_id.local_id for entry in either.find(capability="y")] == ["a"]
    assert either.find(capability="x") == []
    assert [(one.entry.incarnation, one.how) for one in either.departures()] == [(before.incarnation, "unregistered")]
    assert either.stats().entries == 2
    assert either.audit() == []


def test_a_replacement_is_never_half_done(opener: Opener) -> None:
    """A replacement that is refused changes nothing, also where the registry is full of entries."""
    registry = opener(limits=adsum.Limits(max_entries=1, max_metadata_bytes=1000))
    before = registry.register("a").entry
    with pytest.raises(InvalidMetadata):
        registry.register("a", replace=True, custom={"x": "y" * 2000})
    with pytest.raises(adsum.RegistryFull):
        registry.register_many([("a", {}), ("b", {})], replace=True)
    assert registry.list_all() == [before]
    assert registry.register("a", replace=True).entry.incarnation > before.incarnation


def test_a_replacement_leaves_standbys_waiting(opener: Opener) -> None:
    """An id that its holder registers anew is not free in between, so no standby gets it."""
    registry = opener()
    registry.register("a")
    with Agent(registry.folder) as agent:
        agent.do("future = registry.stand_by('a')")
        eventually(lambda: registry.register("a", replace=True).entry.pid == registry["a"].pid)
        assert registry.unregister("a")
        assert agent.value("future.result(10).entry.pid") == agent.pid


def test_a_dead_holders_id_is_free_at_once(either: Registry) -> None:
    """An id whose holder is dead, also if it is a zombie, can be registered by the very next call."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        before = either["a"]
        agent.kill_unreaped()
        after = either.register("a").entry
    assert after.incarnation > before.incarnation
    assert after.pid != before.pid


def test_many_are_registered_at_once(either: Registry) -> None:
    """`register_many` registers all ids, in order, under consecutive incarnations."""
    made = either.register_many([("b", {"capabilities": {"x"}}), ("a", {}), (("other", "n", "c"), {"type": "service"})])
    first = made[0].entry.incarnation
    assert [registration.entry.incarnation for registration in made] == [first, first + 1, first + 2]
    assert [registration.process_id.local_id for registration in made] == ["b", "a", "c"]
    assert either["b"].metadata.capabilities == {"x"}
    assert either.find(namespace="other", type="service") == [made[2].entry]
    assert made[1].unregister()


def test_many_of_nothing_is_nothing(either: Registry) -> None:
    """`register_many` of no ids registers none."""
    assert either.register_many([]) == []


@pytest.mark.parametrize(
    ("spoiler", "error"),
    [
        (("held", {}), AlreadyRegistered),
        (("", {}), InvalidProcessId),
        (("new-1", {}), InvalidProcessId),
        (("bad", {"type": "boss"}), InvalidMetadata),
        (("bad", {"created_at": adsum.model.EPOCH, "last_health_check": 5}), InvalidMetadata),
        (("bad", {"capabilities": {str(number) for number in range(257)}}), InvalidMetadata),
    ],
    ids=["held", "invalid id", "same id twice", "invalid field", "invalid time", "over a limit"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_many_are_registered_all_or_none(
    either: Registry, spoiler: tuple[str, MetadataKeywords], error: type[Exception], place: int
) -> None:
    """If one of several ids cannot be registered, none is registered, and no revision is used."""
    either.register("held")
    before = either.stats().revision
    items: list[tuple[str, MetadataKeywords]] = [("new-1", {}), ("new-2", {})]
    items.insert(place, spoiler)
    with pytest.raises(error):
        either.register_many(items)
    assert [id.local_id for id in either] == ["held"]
    assert either.stats().revision == before


def test_the_same_id_twice_names_the_remedy(either: Registry) -> None:
    """The error for an id that one call names twice says to name each id once."""
    with pytest.raises(InvalidProcessId, match="give each id once"):
        either.register_many([("a", {}), ("a", {})])


def test_many_are_for_one_process(either: Registry) -> None:
    """`register_many` takes the process that is the owner of all its entries."""
    with Agent(either.folder) as agent:
        made = either.register_many([("a", {}), ("b", {})], agent.process)
        assert {registration.entry.pid for registration in made} == {agent.pid}


def test_get_or_register_registers_a_free_id(either: Registry) -> None:
    """If the id is free, `get_or_register` registers the caller and returns True with the entry."""
    entry, created = either.get_or_register("a", capabilities={"x"})
    assert created
    assert either["a"] == entry


def test_get_or_register_gives_the_holder(either: Registry) -> None:
    """If the id is held, `get_or_register` returns the holder's entry unchanged, and ignores the caller's metadata."""
    holder = either.register("a", capabilities={"x"}).entry
    assert either.get_or_register("a", capabilities={"y"}) == (holder, False)
    assert either["a"] == holder


def test_get_or_register_takes_over_from_the_dead(either: Registry) -> None:
    """If the holder is dead, `get_or_register` registers the caller."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        agent.kill_unreaped()
        entry, created = either.get_or_register("a")
    assert created
    assert either["a"] == entry


def test_of_many_callers_exactly_one_registers(registry: Registry) -> None:
    """`get_or_register` is atomic: of eight threads one creates the entry, and all get the same entry."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number in range(20):
            start = threading.Barrier(8)

            def race(id: str = f"a{number}", start: threading.Barrier = start) -> tuple[adsum.Entry, bool]:
                start.wait()
                return registry.get_or_register(id)

            outcomes = [done.result() for done in [pool.submit(race) for _ in range(8)]]
            assert sum(created for _, created in outcomes) == 1
            assert len({entry.incarnation for entry, _ in outcomes}) == 1


def test_register_nowait_gives_a_future(registry: Registry) -> None:
    """The result of the future is what `register` would have returned."""
    future = registry.register_nowait("a", capabilities={"x"})
    assert isinstance(future, concurrent.futures.Future)
    registration = future.result(10)
    assert isinstance(registration, Registration)
    assert registry["a"] == registration.entry
    assert registration.unregister()


def test_register_nowait_brings_errors_with_the_future(registry: Registry) -> None:
    """An error that the registrar answers with is raised by the future, with all its fields."""
    holder = registry.register("a").entry
    error = registry.register_nowait("a").exception(10)
    assert isinstance(error, AlreadyRegistered)
    assert error.entry == holder


def test_register_nowait_raises_mistakes_at_once(registry: Registry) -> None:
    """Invalid arguments raise at once, without a request to the registrar."""
    with pytest.raises(InvalidProcessId):
        registry.register_nowait("")
    with pytest.raises(InvalidMetadata):
        registry.register_nowait("a", type="boss")


def test_register_nowait_keeps_the_order(registry: Registry) -> None:
    """Registrations with `register_nowait` are made in the order of the calls."""
    asked = [registry.register_nowait(f"a{number}") for number in range(100)]
    incarnations = [future.result(10).entry.incarnation for future in asked]
    assert incarnations == sorted(incarnations)


async def test_register_nowait_of_asyncio(registry_folder: Path) -> None:
    """In an `AsyncRegistry` the future belongs to the event loop, and can be awaited."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        asked = [registry.register_nowait(f"a{number}") for number in range(20)]
        assert all(isinstance(future, asyncio.Future) for future in asked)
        made = await asyncio.gather(*asked)
        assert all(isinstance(registration, AsyncRegistration) for registration in made)
        assert [registration.process_id.local_id for registration in made] == [f"a{number}" for number in range(20)]
        with pytest.raises(AlreadyRegistered):
            await registry.register_nowait("a0")


async def test_writes_of_one_loop_overlap(registry_folder: Path) -> None:
    """Awaited writes of many tasks are in flight together, and each task gets its own result."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        outcomes = await asyncio.gather(*[registry.get_or_register(f"a{n % 10}") for n in range(100)])
        assert sum(created for _, created in outcomes) == 10
        assert len(registry) == 10


@pytest.mark.parametrize("items", [None, "ab", b"ab", 5, {"a": {}}, ["ab"], [("a",)], [("a", {}, 1)], [None]], ids=repr)
def test_what_is_no_pairs_is_refused(either: Registry, items: Any) -> None:
    """Items that are not pairs are refused with an error that says what to pass, and nothing is registered."""
    with pytest.raises(TypeError, match="give pairs of an id and its metadata"):
        either.register_many(items)
    assert len(either) == 0


def test_pairs_may_come_from_anywhere(either: Registry) -> None:
    """`register_many` takes any iterable of pairs, also one that can be iterated only once."""
    made = either.register_many((name, {"type": "service"}) for name in "ab")  # type: ignore[arg-type]
    assert [registration.entry.process_id.local_id for registration in made] == ["a", "b"]


def test_every_registration_is_in_the_registry_before_it_returns(opener: Opener) -> None:
    """L5: every later read, through any registry object, sees an acknowledged write."""
    writer, reader = opener(), opener()
    for number in range(50):
        registration = writer.register(f"a{number}")
        assert reader.lookup(f"a{number}") == registration.entry
        updated = registration.update(capabilities={f"c{number}"})
        assert reader.find(capability=f"c{number}") == [updated]
        assert registration.unregister()
        assert reader.lookup(f"a{number}") is None


def test_everywhere_is_true_or_false(either: Registry) -> None:
    """A word or a number for `everywhere` is refused, and registers nothing."""
    calls: dict[str, Callable[[Any], object]] = {
        "register": lambda value: either.register("a", everywhere=value),
        "stand_by": lambda value: either.stand_by("a", everywhere=value, timeout=0.1),
        "claim": lambda value: either.claim("a", everywhere=value),
    }
    for call in calls.values():
        for value in ("yes", 1, None):
            with pytest.raises(TypeError, match=r"everywhere=.*: give True or False"):
                call(value)
    assert either.list_all() == []
