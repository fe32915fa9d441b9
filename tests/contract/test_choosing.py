"""`choose`: choosing one member among those that match."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import pytest

from adsum import Entry, MetadataKeywords, Registry
from tests.support import Agent, Opener


@pytest.fixture
def pool(either: Registry) -> Registry:
    """A registry with four healthy readers, a degraded one, an unhealthy one, and one member that does not read."""
    fields: dict[str, MetadataKeywords] = {f"r{number}": {"capabilities": {"read"}} for number in range(4)}
    fields["slow"] = {"capabilities": {"read"}, "health_status": "degraded"}
    fields["sick"] = {"capabilities": {"read"}, "health_status": "unhealthy"}
    fields["writer"] = {}
    either.register_many(list(fields.items()))
    return either


def drawn(registry: Registry, times: int, by: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(times):
        entry = registry.choose(by=by, capability="read")  # type: ignore[arg-type]
        assert entry is not None
        found[entry.process_id.local_id] += 1
    return found


def test_random_reaches_every_healthy_member(pool: Registry) -> None:
    """By default `choose` draws at random among the healthy members only, and reaches each of them."""
    assert set(drawn(pool, 400, "random")) == {"r0", "r1", "r2", "r3"}


def test_round_robin_spreads_evenly(pool: Registry) -> None:
    """``round_robin`` takes the members in turn: 40 calls choose each of four members ten times."""
    assert drawn(pool, 40, "round_robin") == {"r0": 10, "r1": 10, "r2": 10, "r3": 10}


def test_round_robin_has_a_turn_for_each_question(pool: Registry) -> None:
    """``round_robin`` keeps a separate turn for each set of conditions."""
    for _ in range(8):
        pool.choose(by="round_robin", capability="read")
        pool.choose(by="round_robin")
    assert drawn(pool, 8, "round_robin") == {"r0": 2, "r1": 2, "r2": 2, "r3": 2}


def test_round_robin_follows_the_members(pool: Registry) -> None:
    """When members leave and join, the turns continue among the current members."""
    drawn(pool, 3, "round_robin")
    pool.unregister("r1")
    assert drawn(pool, 6, "round_robin") == {"r0": 2, "r2": 2, "r3": 2}
    pool.update_health("slow", "healthy")
    assert drawn(pool, 8, "round_robin") == {"r0": 2, "r2": 2, "r3": 2, "slow": 2}


def test_turns_are_not_remembered_of_every_question_ever_asked(either: Registry) -> None:
    """The memory for turns is bounded, however many different conditions `choose` is called with."""
    skills = [f"skill {number}" for number in range(40)]
    either.register("able", capabilities=set(skills))
    asked = 0

    def ask(times: int) -> None:
        nonlocal asked
        for several in itertools.islice(itertools.combinations(skills, 3), asked, asked + times):
            assert either.choose(by="round_robin", capability=several)
        asked += times

    ask(1500)
    tracemalloc.start()
    try:
        ask(1500)
        held, _ = tracemalloc.get_traced_memory()
        ask(3000)
        assert tracemalloc.get_traced_memory()[0] < held * 1.5
    finally:
        tracemalloc.stop()


def test_many_callers_do_not_begin_with_the_same(opener: Opener, pool: Registry) -> None:
    """Each registry starts its turns at a random member, so clients that choose only once are spread too."""
    first = [opener().choose(by="round_robin", capability="read") for _ in range(60)]
    assert len({entry.process_id for entry in first if entry}) > 1


def test_a_callable_decides(pool: Registry) -> None:
    """A callable receives the sorted members, and the member that it returns is chosen."""
    shown: list[str] = []

    def last(members: list[Entry]) -> Entry:
        shown.extend(entry.process_id.local_id for entry in members)
        return members[-1]

    chosen = pool.choose(by=last, capability="read")
    assert shown == ["r0", "r1", "r2", "r3"]
    assert chosen == pool["r3"]


def test_a_callable_may_choose_none(pool: Registry) -> None:
    """When the callable returns None, `choose` returns None."""
    assert pool.choose(by=lambda _: None, capability="read") is None


@pytest.mark.parametrize("answer", ["r0", 0, (), object()])
def test_a_choice_that_is_no_member_is_refused(pool: Registry, answer: object) -> None:
    """`choose` raises an error if the callable returns an object that is not one of the members."""
    with pytest.raises(ValueError, match="one of the entries it is given"):
        pool.choose(by=lambda _: answer, capability="read")  # type: ignore[arg-type,return-value]


def test_another_health_can_be_asked_for(pool: Registry) -> None:
    """`health_status` selects members of that status instead of healthy ones; None selects any status."""
    degraded = pool.choose(health_status="degraded")
    assert degraded == pool["slow"]
    assert pool.choose(by=lambda members: members[len(members) - 7], health_status=None) == pool["r0"]


def test_conditions_hold_together(pool: Registry) -> None:
    """`choose` takes the same conditions as `find`, and all of them must hold."""
    assert pool.choose(capability="read", where=lambda entry: entry.process_id.local_id == "r2") == pool["r2"]
    assert pool.choose(capability="read", type="service") is None


@pytest.mark.parametrize(
    "by", ["random", "round_robin", lambda members: members[0]], ids=["random", "turn", "callable"]
)
def test_without_a_match_the_choice_is_none(pool: Registry, by: object) -> None:
    """When no member matches, `choose` returns None and does not call the callable."""
    assert pool.choose(by=by, capability="fly") is None  # type: ignore[arg-type]
    assert pool.choose(by=by, namespace="elsewhere") is None  # type: ignore[arg-type]


def test_an_unknown_way_is_refused(pool: Registry) -> None:
    """When `by` is neither a known method nor a callable, `choose` raises an error, whether members match or not."""
    for capability in ("read", "fly"):
        with pytest.raises(ValueError, match=r"give 'random', .*'weighted' or a callable"):
            pool.choose(by="best", capability=capability)  # type: ignore[arg-type]


def test_the_dead_are_not_chosen(either: Registry) -> None:
    """S2: `choose` never returns a member that is dead at the moment of the call."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('dead')")
        either.register("alive")
        agent.kill_unreaped()
        for by in ("random", "round_robin"):
            chosen = {entry.process_id.local_id for _ in range(10) if (entry := either.choose(by=by))}
            assert chosen == {"alive"}
