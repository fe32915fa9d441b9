"""Revisions, departures and statistics: the registry's record of its past and of itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from adsum import AlreadyRegistered, NotRegistered, Registry, Stats
from tests.support import Agent, Child, Opener, end_registrar, eventually, kill_registrar


def test_every_change_has_the_next_revision(either: Registry) -> None:
    """Revisions count the changes, one by one from 1; an incarnation is the revision of its registration."""
    assert either.stats().revision == 0
    a = either.register("a").entry
    b, c = (registration.entry for registration in either.register_many([("b", {}), ("c", {})]))
    assert [entry.incarnation for entry in (a, b, c)] == [entry.revision for entry in (a, b, c)] == [1, 2, 3]
    updated = either.update("b", endpoint="x")
    assert (updated.revision, updated.incarnation) == (4, 2)
    assert either.update_health("b", "degraded").revision == 5
    either.unregister("a")
    assert either.stats().revision == 6
    assert either.get_or_register("a")[0].incarnation == 7


def test_what_changes_nothing_has_no_revision(either: Registry) -> None:
    """Refused calls, calls about absent ids, and `get_or_register` of a held id take no revision."""
    either.register("a")
    with pytest.raises(AlreadyRegistered):
        either.register("a")
    with pytest.raises(NotRegistered):
        either.update("nobody")
    assert either.unregister("nobody") is False
    either.get_or_register("a")
    assert either.stats().revision == 1
    assert either.register("b").entry.revision == 2


def test_a_death_is_one_change_for_each_entry(either: Registry) -> None:
    """The entries of a dead process are removed together, under consecutive revisions."""
    with Agent(either.folder) as agent:
        agent.do("registry.register_many([('a', {}), ('b', {}), ('c', {})])")
        agent.kill()
    eventually(lambda: either.stats().entries == 0)
    assert either.stats().revision == 6


def test_revisions_go_on_with_the_next_registrar(either: Registry) -> None:
    """A registrar that takes over from a killed one continues the count."""
    before = either.register("a").entry
    kill_registrar(either.folder)
    assert either.register("b").entry.incarnation == before.incarnation + 1
    assert either["a"] == before


def test_departures_come_newest_first(either: Registry) -> None:
    """Unregistered, died and handed over: each departure has the entry, how it ended, when, and the detection time."""
    start = datetime.now(UTC)
    first = either.register("first").entry
    either.unregister("first")
    with Agent(either.folder) as agent:
        agent.do("registry.register('second')")
        second = either["second"]
        agent.kill()
    eventually(lambda: either.stats().entries == 0)
    with Child("input()") as child:
        third = either.register("third")
        last = third.entry
        third.hand_over(child.pid)
        departures = either.departures()
    assert [(departure.how, departure.entry) for departure in departures] == [
        ("handed_over", last),
        ("died", second),
        ("unregistered", first),
    ]
    times = [departure.at for departure in departures]
    assert start <= times[2] <= times[1] <= times[0] <= datetime.now(UTC)
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert departures[1].detection > 0 == departures[0].detection == departures[2].detection
    assert all(one.time_known for one in departures)


def test_departures_have_a_limit(either: Registry) -> None:
    """`limit` gives the newest so many; a negative one is a mistake, as in `find`."""
    for number in range(5):
        either.register(f"a{number}")
        either.unregister(f"a{number}")
    assert [departure.entry.process_id.local_id for departure in either.departures(2)] == ["a4", "a3"]
    assert either.departures(0) == []
    assert len(either.departures(99)) == len(either.departures(None)) == 5
    with pytest.raises(ValueError, match="limit"):
        either.departures(-1)


def test_departures_are_at_most_a_thousand(registry: Registry) -> None:
    """S4: the newest 1,000 departures are kept, of however many there were."""
    with Agent(registry.folder) as agent:
        agent.do("registry.register_many([(f'a{n:04}', {}) for n in range(700)])")
        agent.kill()
    with Agent(registry.folder) as agent:
        agent.do("registry.register_many([(f'b{n:04}', {}) for n in range(700)])")
        agent.kill()
    eventually(lambda: registry.stats().entries == 0)
    ids = [departure.entry.process_id.local_id for departure in registry.departures(5000)]
    assert ids == [f"b{n:04}" for n in reversed(range(700))] + [f"a{n:04}" for n in reversed(range(400, 700))]


def test_a_large_entry_departs_in_outline(either: Registry) -> None:
    """S4: of an entry with much metadata a departure keeps the id, the owner, the type and the health."""
    full = either.register("a", type="service", custom={"ballast": "x" * 50_000}).entry
    either.unregister("a")
    (departure,) = either.departures()
    assert (departure.entry.process_id, departure.entry.incarnation) == (full.process_id, full.incarnation)
    assert (departure.entry.metadata.type, departure.entry.metadata.custom) == ("service", {})


def fresh(registry: Registry, expected: dict[str, int]) -> Stats:
    """The statistics, once they count these outcomes; they may be a second old."""

    def look() -> Stats | None:
        stats = registry.stats()
        return stats if expected.items() <= stats.outcomes.items() else None

    stats = eventually(look)
    assert stats is not None
    return stats


def test_stats_count_the_tables(either: Registry) -> None:
    """Entries, owners, revision and memory are those of the tables now."""
    either.register_many([("a", {}), ("b", {}), (("other", "n", "c"), {})])
    with Agent(either.folder) as agent:
        agent.do("registry.register('d')")
        stats = either.stats()
        assert (stats.entries, stats.owners, stats.revision) == (4, 2, 4)
        assert 0 < stats.bytes_used < stats.bytes_limit == 100 * 1024 * 1024


def test_stats_name_the_registrar(either: Registry) -> None:
    """The registrar's pid is that of another living process, with its uptime; without a registrar there is neither."""
    either.register("a")
    first = either.stats()
    assert first.registrar_pid not in (None, os.getpid())
    assert first.uptime > 0 == first.restarts
    assert either.stats().uptime > first.uptime
    killed = kill_registrar(either.folder)
    gone = either.stats()
    assert killed == first.registrar_pid
    assert (gone.registrar_pid, gone.uptime, gone.entries) == (None, 0, 1)
    either.register("b")
    again = either.stats()
    assert again.registrar_pid not in (None, killed)
    assert again.restarts == 1


def test_a_registrar_that_left_in_order_is_no_restart(registry: Registry) -> None:
    """`restarts` counts the registrars that took over from one that died, and none that follows a stopped one."""
    registry.register("a")
    assert end_registrar(registry.folder) is not None
    registry.update_health("a", "degraded")
    assert registry.stats().restarts == 0
    kill_registrar(registry.folder)
    registry.update_health("a", "healthy")
    assert registry.stats().restarts == 1


def test_stats_count_outcomes_by_word(either: Registry) -> None:
    """`outcomes` counts requests by their result: ``ok`` or the reason of the error."""
    either.register("a")
    either.update("a")
    for _ in range(2):
        with pytest.raises(AlreadyRegistered):
            either.register("a")
    with pytest.raises(NotRegistered):
        either.update("nobody")
    stats = fresh(either, {"ok": 2, "already_registered": 2, "not_registered": 1})
    assert stats.pending == 0


def test_stats_have_the_cleanup_latency(either: Registry) -> None:
    """`cleanup_latency` has p50, p99 and max, in seconds, over the last deaths."""
    nothing = either.stats().cleanup_latency
    assert (nothing.p50, nothing.p99, nothing.max) == (0, 0, 0)
    for _ in range(3):
        with Agent(either.folder) as agent:
            agent.do("registry.register('a')")
            agent.kill()
    eventually(lambda: either.stats().entries == 0)
    eventually(lambda: either.stats().cleanup_latency.max > 0)
    latency = either.stats().cleanup_latency
    assert 0 < latency.p50 <= latency.p99 <= latency.max


def test_outcomes_survive_the_registrar(opener: Opener) -> None:
    """The next registrar continues the counts."""
    registry = opener()
    registry.register("a")
    fresh(registry, {"ok": 1})
    kill_registrar(registry.folder)
    registry.register("b")
    fresh(registry, {"ok": 2})
