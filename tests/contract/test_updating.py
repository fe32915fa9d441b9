"""Changing an entry: update, health, unregister, and the calls with `if_incarnation`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adsum import InvalidMetadata, NotRegistered, Registry, Stale
from tests.support import Agent

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FULL: dict[str, Any] = {
    "type": "service",
    "capabilities": {"x", "y"},
    "resources": {"gpu": 1, "zone": "n"},
    "coordination_variables": {"phase"},
    "health_status": "degraded",
    "node_affinity": ["n1"],
    "created_at": PAST,
    "last_health_check": PAST,
    "endpoint": "here",
    "custom": {"a": {"b": 1}, "c": 2},
}
REPLACED: dict[str, Any] = {
    "type": "coordinator",
    "capabilities": {"z"},
    "resources": {"cpu": 2},
    "coordination_variables": {"other"},
    "health_status": "unhealthy",
    "node_affinity": [],
    "created_at": datetime(2019, 1, 1, tzinfo=UTC),
    "last_health_check": datetime(2022, 1, 1, tzinfo=UTC),
    "endpoint": None,
    "custom": {"a": {}},
}


@pytest.mark.parametrize("field", FULL)
def test_an_update_replaces_one_field_whole(either: Registry, field: str) -> None:
    """An update replaces the given field as a whole; every other field keeps its value."""
    either.register("a", **FULL)
    metadata = either.update("a", **{field: REPLACED[field]}).metadata
    assert {name: getattr(metadata, name) for name in FULL} == {**FULL, field: REPLACED[field]}
    assert either["a"].metadata == metadata


def test_an_update_is_a_revision_of_the_same_registration(either: Registry) -> None:
    """An update has the next revision and a new `last_updated`; identity, incarnation and registration time stay."""
    before = either.register("a").entry
    after = either.update("a", endpoint="there")
    assert after.revision == before.revision + 1 == either.stats().revision
    assert after.last_updated > before.last_updated == after.registered_at == before.registered_at
    assert (after.incarnation, after.pid, after.process_id) == (before.incarnation, before.pid, before.process_id)


def test_indexes_follow_an_update(either: Registry) -> None:
    """I2: after an update a query finds the entry by its current values only."""
    either.register("a", **FULL)
    after = either.update("a", capabilities={"y", "z"}, type="agent", health_status="healthy")
    for found in (
        either.find(capability="y"),
        either.find(capability="z"),
        either.find(type="agent"),
        either.find(health_status="healthy"),
    ):
        assert found == [after]
    assert either.find(capability="x") == either.find(type="service") == either.find(health_status="degraded") == []
    assert either.audit() == []


def test_an_update_that_is_refused_changes_nothing(either: Registry) -> None:
    """A refused update leaves the entry, the indexes and the revision unchanged."""
    before = either.register("a", **FULL).entry
    for wrong in ({"type": "boss"}, {"created_at": datetime(2021, 1, 1, tzinfo=UTC), "last_health_check": PAST}):
        with pytest.raises(InvalidMetadata):
            either.update("a", capabilities={"z"}, **wrong)
    assert either["a"] == before
    assert either.find(capability="z") == []
    assert either.stats().revision == before.revision


def test_any_process_may_update_any_entry(either: Registry) -> None:
    """Any client can change the entry of another process; the owner stays the same."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        assert either.update("a", endpoint="there").pid == agent.pid
        assert agent.value("registry['a'].metadata.endpoint") == "there"
        assert either.unregister("a")
        assert agent.value("registry.lookup('a')") is None


def test_health_and_its_check_go_together(either: Registry) -> None:
    """`update_health` sets the status, and `last_health_check` to the time of the update, and nothing else."""
    before = either.register("a", **FULL).entry
    after = either.update_health("a", "unhealthy")
    assert after.metadata.health_status == "unhealthy"
    assert after.metadata.last_health_check == after.last_updated > before.last_updated
    assert after.revision == before.revision + 1
    stays = set(FULL) - {"health_status", "last_health_check"}
    assert {name: getattr(after.metadata, name) for name in stays} == {name: FULL[name] for name in stays}
    assert either.find(health_status="unhealthy") == [after]


def test_health_checks_only_go_forward(either: Registry) -> None:
    """A second health update with the same status is a newer check."""
    either.register("a")
    first = either.update_health("a", "healthy").metadata.last_health_check
    assert either.update_health("a", "healthy").metadata.last_health_check > first


@pytest.mark.parametrize("status", ["fine", "", None, 5])
def test_a_health_status_is_one_of_three(either: Registry, status: Any) -> None:
    """A status other than healthy, degraded and unhealthy raises `InvalidMetadata` with the field's path."""
    either.register("a")
    with pytest.raises(InvalidMetadata, match=r"metadata\.health_status"):
        either.update_health("a", status)


def test_unregister_returns_whether_it_removed_an_entry(either: Registry) -> None:
    """`unregister` returns True if it removed an entry and False if the id was free; neither is an error."""
    either.register("a")
    assert either.unregister("a") is True
    assert either.lookup("a") is None
    assert either.unregister("a") is False
    assert either.unregister("never") is False


def test_unregistering_the_dead_is_false(either: Registry) -> None:
    """`unregister` returns False for a dead holder, whether or not its entry has been cleaned up."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a')")
        agent.kill_unreaped()
        assert either.unregister("a") is False


def test_what_is_not_registered_cannot_be_updated(either: Registry) -> None:
    """An update of an absent or dead member raises `NotRegistered`, a `KeyError`, which advises to register first."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('dead')")
        agent.kill_unreaped()
        for id in ("never", "dead"):
            with pytest.raises(NotRegistered, match="register it first") as caught:
                either.update(id, endpoint="x")
            assert isinstance(caught.value, KeyError)
            with pytest.raises(NotRegistered):
                either.update_health(id, "healthy")
            with pytest.raises(NotRegistered):
                either.update(id, if_incarnation=1)


def test_the_right_incarnation_may(either: Registry) -> None:
    """With `if_incarnation` of the current entry, writes succeed, whether or not the entry was updated before."""
    incarnation = either.register("a").entry.incarnation
    assert either.update("a", if_incarnation=incarnation, endpoint="x").metadata.endpoint == "x"
    assert either.update_health("a", "degraded", if_incarnation=incarnation).incarnation == incarnation
    assert either.unregister("a", if_incarnation=incarnation) is True
    assert either.unregister("a", if_incarnation=incarnation) is False


@pytest.mark.parametrize("wrong", [0, -1, 10**9, 2**63])
def test_another_incarnation_is_stale(either: Registry, wrong: int) -> None:
    """With another incarnation, a write raises `Stale`, which names the current holder, and changes nothing."""
    before = either.register("a").entry
    for call in (
        lambda: either.update("a", if_incarnation=wrong, endpoint="x"),
        lambda: either.update_health("a", "degraded", if_incarnation=wrong),
        lambda: either.unregister("a", if_incarnation=wrong),
    ):
        with pytest.raises(Stale, match=f"incarnation {before.incarnation} now.*look it up again") as caught:
            call()
        assert caught.value.reason == "stale"
    assert either["a"] == before


@pytest.mark.parametrize("wrong", ["1", 1.5, 2**70, b"1"], ids=range(4))
def test_an_incarnation_is_a_whole_number(either: Registry, wrong: Any) -> None:
    """An invalid incarnation is refused as the caller's mistake, and the registry stays usable."""
    either.register("a")
    for call in (
        lambda: either.update("a", if_incarnation=wrong, timeout=1),
        lambda: either.unregister("a", if_incarnation=wrong, timeout=1),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert either.unregister("a")


def test_a_later_registration_of_the_same_id_is_another(either: Registry) -> None:
    """An id that is registered again has a larger incarnation, so the first registration cannot change it."""
    first = either.register("a")
    either.unregister("a")
    second = either.register("a").entry
    assert second.incarnation > first.entry.incarnation
    for call in (
        lambda: first.update(endpoint="x"),
        lambda: first.update_health("degraded"),
        lambda: first.unregister(),
    ):
        with pytest.raises(Stale):
            call()
    assert either["a"] == second
