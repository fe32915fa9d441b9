"""Conditions on own data, on alternatives and exclusions, on the beginning of an id, on the process."""

from __future__ import annotations

import os
from typing import Any

import pytest

import adsum
from adsum import InvalidQuery, MetadataKeywords, Registry
from tests.support import WITHIN, Agent

MEMBERS: list[tuple[Any, MetadataKeywords]] = [
    ("worker-1", {"custom": {"model": "x", "stats": {"done": 3}}, "resources": {"tokens": 1000, "zone": "n"}}),
    ("worker-2", {"custom": {"model": "y", "tags": ["a", 1]}, "resources": {"tokens": 999.5}, "capabilities": {"a"}}),
    ("worker-3", {"custom": {"model": None, "on": True}, "capabilities": {"a", "b"}, "health_status": "degraded"}),
    ("planner", {"custom": {"n": 1, "stats": 7}, "resources": {"tokens": "many"}, "capabilities": {"b"}}),
    (("elsewhere", "n", "worker-9"), {"custom": {"model": "x"}, "capabilities": {"a"}}),
]

FOUND: list[tuple[dict[str, Any], list[str]]] = [
    ({"custom": {"model": "x"}}, ["worker-1"]),
    ({"custom": {"model": "z"}}, []),
    ({"custom": {}}, ["planner", "worker-1", "worker-2", "worker-3"]),
    ({"custom": None, "pid": None}, ["planner", "worker-1", "worker-2", "worker-3"]),
    ({"custom": {"model": None}}, ["planner", "worker-3"]),
    ({"custom": {"stats": {"done": 3}}}, ["worker-1"]),
    ({"custom": {"stats": {"done": adsum.at_least(3)}, "model": "x"}}, ["worker-1"]),
    ({"custom": {"stats": {"done": adsum.at_least(4)}}}, []),
    ({"custom": {"tags": ["a", 1]}}, ["worker-2"]),
    ({"custom": {"tags": ("a", 1.0)}}, ["worker-2"]),
    ({"custom": {"tags": ["a"]}}, []),
    ({"custom": {"n": 1}}, ["planner"]),
    ({"custom": {"n": 1.0}}, ["planner"]),
    ({"custom": {"n": True}}, []),
    ({"custom": {"on": True}}, ["worker-3"]),
    ({"custom": {"on": 1}}, []),
    ({"custom": {"on": adsum.at_least(0)}}, []),
    ({"resources": {"tokens": adsum.at_least(1000)}}, ["worker-1"]),
    ({"resources": {"tokens": adsum.at_most(1000)}}, ["worker-1", "worker-2"]),
    ({"resources": {"tokens": adsum.between(999, 999.5)}}, ["worker-2"]),
    ({"resources": {"tokens": "many"}}, ["planner"]),
    ({"resources": {"tokens": None}}, ["worker-3"]),
    ({"resources": {"tokens": 1000, "zone": "n"}}, ["worker-1"]),
    ({"any_capability": {"a", "b"}}, ["planner", "worker-2", "worker-3"]),
    ({"any_capability": "a"}, ["worker-2", "worker-3"]),
    ({"not_capability": "a"}, ["planner", "worker-1"]),
    ({"not_capability": ["a", "b"]}, ["worker-1"]),
    ({"any_capability": {"a", "b"}, "not_capability": "b"}, ["worker-2"]),
    ({"capability": "a", "not_capability": "b"}, ["worker-2"]),
    ({"capability": "a", "any_capability": {"b", "c"}, "health_status": "degraded"}, ["worker-3"]),
    ({"id_prefix": "worker-"}, ["worker-1", "worker-2", "worker-3"]),
    ({"id_prefix": "worker-", "custom": {"model": "y"}, "type": "agent"}, ["worker-2"]),
    ({"pid": os.getpid()}, ["planner", "worker-1", "worker-2", "worker-3"]),
    ({"pid": 1}, []),
    ({"namespace": "elsewhere", "custom": {"model": "x"}}, ["worker-9"]),
    ({"namespace": adsum.ALL, "custom": {"model": "x"}}, ["worker-1", "worker-9"]),
    ({"namespace": adsum.ALL, "capability": "a"}, ["worker-2", "worker-3", "worker-9"]),
    ({"namespace": adsum.ALL}, ["planner", "worker-1", "worker-2", "worker-3", "worker-9"]),
]


@pytest.fixture
def team(either: Registry) -> Registry:
    """The registry, with `MEMBERS`."""
    either.register_many(MEMBERS)
    return either


def names(entries: Any) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


def test_each_condition_finds_what_it_says(team: Registry) -> None:
    """`find`, `count`, `wait_for`, `watch` and `choose` agree on which members match each condition, sorted by id; a
    second time, from the cache, too."""
    for conditions, expected in FOUND:
        for _ in range(2):
            assert names(team.find(**conditions)) == expected, conditions
        assert team.count(**conditions) == len(expected), conditions
        assert names(team.wait_for(count=len(expected), timeout=0, **conditions)) == expected
        with team.watch(**conditions) as watch:
            assert names(watch.snapshot) == expected, conditions
        chosen = team.choose(by=lambda members: members[-1], **{"health_status": None, **conditions})
        assert names([chosen] if chosen else []) == expected[-1:], conditions


def test_round_robin_takes_turns_for_each_condition(team: Registry) -> None:
    """`choose` keeps a turn for each set of conditions, values of own data included."""
    ways: list[dict[str, Any]] = [
        {"custom": {"tags": ["a", 1]}},
        {"any_capability": {"a"}},
        {"resources": {"tokens": adsum.at_least(1)}},
    ]
    for conditions in ways:
        chosen = [team.choose(by="round_robin", health_status=None, **conditions) for _ in range(4)]
        assert set(names(chosen)) == set(names(team.find(**conditions)))


def test_all_namespaces_are_listed(team: Registry) -> None:
    """`list_all(adsum.ALL)` gives the entries of every namespace, sorted by id; a search without it stays in one
    (S7)."""
    assert names(team.list_all(adsum.ALL)) == ["planner", "worker-1", "worker-2", "worker-3", "worker-9"]
    assert names(team.list_all()) == ["planner", "worker-1", "worker-2", "worker-3"]
    assert repr(adsum.ALL) == "adsum.ALL"


def test_every_search_sees_the_latest_change(team: Registry) -> None:
    """L5: a search that was made before sees each later change, of own data, of ids, and in any namespace."""
    searches: list[tuple[dict[str, Any], list[str], list[str]]] = [
        ({"custom": {"model": "x"}}, ["worker-1"], ["worker-2"]),
        ({"capability": "a", "custom": {"model": "x"}}, [], ["worker-2"]),
        ({"resources": {"tokens": adsum.at_least(1000)}}, ["worker-1"], ["worker-1", "worker-2"]),
        ({"any_capability": {"c", "d"}}, [], ["worker-2"]),
        ({"namespace": adsum.ALL, "id_prefix": "worker-9"}, ["worker-9"], []),
        ({"namespace": adsum.ALL, "custom": {"model": "x"}}, ["worker-1", "worker-9"], ["worker-2"]),
    ]
    with Agent(team.folder) as agent:
        for _ in range(2):
            for conditions, before, _ in searches:
                assert names(team.find(**conditions)) == before, conditions
        agent.do("registry.update('worker-1', custom={})")
        agent.do("registry.update('worker-2', merge=True, custom={'model': 'x'}, add={'resources.tokens': 1})")
        agent.do("registry.update('worker-2', merge=True, capabilities={'c'})")
        agent.do("registry.unregister(('elsewhere', 'n', 'worker-9'))")
        for conditions, _, after in searches:
            assert names(team.find(**conditions)) == after, conditions
            assert team.count(**conditions) == len(after)


def test_a_change_of_own_data_is_watched(team: Registry) -> None:
    """A watch with conditions on own data reports the update by which an entry starts to match, and stops."""
    with team.watch(resources={"tokens": adsum.at_least(5000)}) as watch:
        team.update("worker-2", add={"resources.tokens": 1})
        matching = team.update("worker-2", add={"resources.tokens": 5000})
        changed = team.update("worker-2", add={"resources.tokens": -5000})
        events = [watch.next(WITHIN), watch.next(WITHIN)]
    assert [(event.kind, event.entry) for event in events] == [("registered", matching), ("unregistered", changed)]


def test_the_dead_do_not_match(either: Registry) -> None:
    """S2: a dead member is not found by any condition."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('w', custom={'model': 'x'}, capabilities={'a'})")
        assert either.count(pid=agent.pid) == 1
        agent.kill_unreaped()
        ways: list[dict[str, Any]] = [
            {"pid": agent.pid},
            {"custom": {"model": "x"}},
            {"any_capability": "a"},
            {"namespace": adsum.ALL},
        ]
        for conditions in ways:
            assert either.find(**conditions) == []
            assert either.count(**conditions) == 0


_ENDLESS: dict[str, Any] = {}
_ENDLESS["a"] = _ENDLESS


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"custom": "x"}, r"custom='x': give a dict"),
        ({"custom": {1: 2}}, r"custom: the key 1 is no string"),
        ({"custom": {"a": {1}}}, r"custom\['a'\]: set is no plain data"),
        ({"custom": {"a": [object()]}}, r"custom\['a'\]: object is no plain data"),
        ({"custom": {"a": {"b": float("nan")}}}, r"custom\['a'\]\['b'\]: nan equals nothing"),
        ({"custom": _ENDLESS}, r"custom: it is nested too deep, or contains itself"),
        ({"custom": {"a": {}}}, r"custom\['a'\]={}: give at least one"),
        ({"custom": {"a": 2**64}}, r"custom\['a'\]: \d+ does not fit 64 bits"),
        ({"resources": {"a": True}}, r"resources\['a'\]=True: a resource is a number or a string"),
        ({"resources": {"a": {"b": 1}}}, r"resources\['a'\]=.*: a resource is"),
        ({"any_capability": set()}, r"any_capability={}: it is empty"),
        ({"any_capability": 3}, r"any_capability=3"),
        ({"not_capability": ""}, r"not_capability=''"),
        ({"capability": "a", "not_capability": {"a", "b"}}, r"both name 'a'"),
        ({"any_capability": "a", "not_capability": {"a", "b"}}, r"not_capability excludes all of them"),
        ({"id_prefix": ""}, r"id_prefix=''"),
        ({"id_prefix": b"w"}, r"id_prefix=b'w'"),
        ({"text": ""}, r"text='': give a non-empty string"),
        ({"text": 3}, r"text=3: give a non-empty string"),
        ({"pid": 0}, r"pid=0: give the number of a process"),
        ({"pid": "1"}, r"pid='1'"),
        ({"pid": True}, r"pid=True"),
        ({"namespace": ""}, r"namespace=''"),
        ({"any_capabilty": "a"}, r"no such condition: any_capabilty; do you mean any_capability\?"),
    ],
    ids=range(24),
)
def test_what_no_entry_could_meet_is_refused(either: Registry, conditions: dict[str, Any], said: str) -> None:
    """An unknown or impossible condition is `InvalidQuery` in every call that takes conditions, and says why."""
    for call in (either.find, either.count, either.choose, either.watch, either.wait_for):
        with pytest.raises(InvalidQuery, match=said):
            call(**conditions)


@pytest.mark.parametrize(
    "make",
    [
        lambda: adsum.at_least("x"),  # type: ignore[arg-type]
        lambda: adsum.at_least(True),
        lambda: adsum.at_most(float("nan")),
        lambda: adsum.at_least(float("inf")),
        lambda: adsum.between(2, 1),
    ],
    ids=range(5),
)
def test_an_impossible_range_is_refused(make: Any) -> None:
    """A range has finite bounds, the lower one first."""
    with pytest.raises(InvalidQuery, match=r"at_least|at_most|between"):
        make()


def test_an_unknown_condition_is_a_type_error_too(either: Registry) -> None:
    """A misspelt keyword is a `TypeError`, as everywhere in Python, and an `InvalidQuery`."""
    with pytest.raises(TypeError, match="do you mean custom"):
        either.find(costum={"model": "x"})  # type: ignore[call-arg]
