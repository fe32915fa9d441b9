"""Finding: every combination of conditions is checked against a model that scans all members."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any, NamedTuple

import pytest

from adsum import Entry, ProcessId, Registry
from tests.support import Agent

CAPABILITIES = ["plan", "plan2", "read", "日本", "x" * 100]
TYPES = ["agent", "service", "coordinator", "resource_manager"]
HEALTH = ["healthy", "degraded", "unhealthy"]
NODES = ["n", "n1", "n2"]
# Each name is a prefix of the next, and one contains the separator of a printed id: an index must not confuse them.
NAMESPACES = ["s", "s2", "s/n"]


class Member(NamedTuple):
    """What the model knows about one entry."""

    type: str
    capabilities: frozenset[str]
    health_status: str


class Model:
    """The same members in a dictionary; each query scans all of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.members: dict[ProcessId, Member] = {}

    def some_fields(self) -> dict[str, Any]:
        chosen = self.random.sample(CAPABILITIES, self.random.randint(0, len(CAPABILITIES)))
        return {
            "type": self.random.choice(TYPES),
            "capabilities": frozenset(chosen),
            "health_status": self.random.choice(HEALTH),
        }

    def matching(
        self,
        namespace: str,
        capability: frozenset[str] | None,
        type: str | None,
        health_status: str | None,
        node: str | None,
    ) -> list[ProcessId]:
        return sorted(
            id
            for id, member in self.members.items()
            if id.namespace == namespace
            and (capability is None or capability <= member.capabilities)
            and type in (None, member.type)
            and health_status in (None, member.health_status)
            and node in (None, id.node)
        )


def ids(entries: list[Entry]) -> list[ProcessId]:
    return [entry.process_id for entry in entries]


def check_every_question(registry: Registry, model: Model) -> None:
    """Every combination of conditions finds what the model finds, sorted, and `count` returns their number."""
    wanted = [
        None,
        *map(frozenset, itertools.chain([["nobody"]], *(itertools.combinations(CAPABILITIES, n) for n in (1, 2)))),
    ]
    for namespace, capability, type, health_status, node in itertools.product(
        NAMESPACES, wanted, [None, *TYPES], [None, *HEALTH], [None, *NODES, "nowhere"]
    ):
        question: dict[str, Any] = {
            "namespace": namespace,
            "capability": capability,
            "type": type,
            "health_status": health_status,
            "node": node,
        }
        expected = model.matching(**question)
        assert ids(registry.find(**question)) == expected, question
        assert registry.count(**question) == len(expected), question


@pytest.mark.parametrize("seed", [1, 2, time.time_ns() % 1_000_000], ids=["1", "2", "new"])
def test_every_combination_of_conditions(registry: Registry, seed: int) -> None:
    """P3, I2, S7: `find` and `count` return exactly the matches, sorted by id, before and after random changes."""
    print(f"seed {seed}")
    model = Model(seed)
    new = [ProcessId(s, n, f"p{i}") for s in NAMESPACES for n in NODES for i in range(7)]
    model.random.shuffle(new)
    items: list[tuple[ProcessId, Any]] = [(id, model.some_fields()) for id in new]
    registry.register_many(items)
    model.members = {id: Member(**fields) for id, fields in items}
    check_every_question(registry, model)
    for id in model.random.sample(new, 30):
        if model.random.random() < 0.5:
            registry.unregister(id)
            del model.members[id]
        else:
            fields = model.some_fields()
            registry.update(id, **fields)
            model.members[id] = Member(**fields)
    check_every_question(registry, model)
    assert registry.audit() == []


@pytest.fixture
def team(either: Registry) -> Registry:
    """A registry with four members: a and b plan, b and c read, c is degraded, d is a service."""
    either.register_many(
        [
            ("d", {"type": "service"}),
            ("b", {"capabilities": {"plan", "read"}}),
            ("a", {"capabilities": {"plan"}}),
            ("c", {"capabilities": {"read"}, "health_status": "degraded"}),
        ]
    )
    return either


def names(entries: list[Entry]) -> str:
    return "".join(entry.process_id.local_id for entry in entries)


def test_found_entries_are_sorted_by_id(team: Registry) -> None:
    """`find` sorts by id, whatever the order of registration."""
    assert names(team.find()) == "abcd"


@pytest.mark.parametrize("several", [{"plan", "read"}, ["read", "plan"], ("plan", "read"), frozenset({"plan", "read"})])
def test_several_capabilities_are_all_wanted(team: Registry, several: Any) -> None:
    """A collection of capabilities finds the members that have all of them."""
    assert names(team.find(capability=several)) == "b"
    assert team.count(capability=several) == 1


def test_the_short_forms(team: Registry) -> None:
    """`find_by_capability`, `find_by_type`, `find_by_health` and `list_all` equal `find` with one condition."""
    assert names(team.find_by_capability("plan")) == "ab"
    assert names(team.find_by_capability({"plan", "read"})) == "b"
    assert names(team.find_by_type("service")) == "d"
    assert names(team.find_by_health("degraded")) == "c"
    assert names(team.list_all()) == "abcd"
    assert team.list_all("elsewhere") == []


def test_where_is_called_last(team: Registry) -> None:
    """`where` is called with the entries that meet all other conditions, and keeps those for which it returns true."""
    asked: list[str] = []

    def where(entry: Entry) -> object:
        asked.append(entry.process_id.local_id)
        return entry.process_id.local_id if entry.process_id.local_id > "a" else ""

    assert names(team.find(capability="plan", where=where)) == "b"
    assert sorted(asked) == ["a", "b"]
    assert team.count(capability="plan", where=where) == 1


def test_an_error_in_where_is_the_callers(team: Registry) -> None:
    """An error that `where` raises reaches the caller unchanged, and the registry stays usable."""
    with pytest.raises(ZeroDivisionError):
        team.find(where=lambda entry: 1 // 0)
    assert names(team.find()) == "abcd"


def test_where_may_use_the_registry(team: Registry) -> None:
    """`where` may read and write the registry that calls it."""
    found = team.find(where=lambda entry: (team.update(entry.process_id, endpoint="seen"), len(team))[1] == 4)
    assert names(found) == "abcd"


def test_limit_takes_the_first(team: Registry) -> None:
    """`limit` keeps the first matches, after `where`; 0 keeps none."""
    assert names(team.find(limit=2)) == "ab"
    assert names(team.find(limit=0)) == ""
    assert names(team.find(limit=99)) == "abcd"
    assert names(team.find(limit=1, where=lambda entry: entry.process_id.local_id > "b")) == "c"


@pytest.mark.parametrize(
    "impossible",
    [
        {"type": "boss"},
        {"health_status": "fine"},
        {"capability": ""},
        {"capability": {"a\0b"}},
        {"capability": "\ud800"},
        {"capability": [5]},
        {"node": ""},
        {"node": "a\0b"},
        {"node": "\udfff"},
        {"namespace": ""},
        {"namespace": "s\0n"},
        {"namespace": "\ud800"},
        {"limit": -1},
    ],
    ids=repr,
)
def test_an_impossible_condition_is_refused(team: Registry, impossible: dict[str, Any]) -> None:
    """A condition that no entry can meet raises a `ValueError` that names the possible values."""
    with pytest.raises(ValueError, match=r"give a|give one of|Unicode"):
        team.find(**impossible)


@pytest.mark.parametrize("condition", ["capability", "node", "namespace"])
def test_a_condition_longer_than_anything_stored_finds_nothing(team: Registry, condition: str) -> None:
    """A text longer than any that can be stored matches no entry."""
    assert team.find(**{condition: "x" * 5000}) == []  # type: ignore[arg-type]
    assert team.count(**{condition: "x" * 5000}) == 0  # type: ignore[arg-type]


def test_the_dead_are_not_counted(either: Registry) -> None:
    """S2: `find`, `count`, `len`, iteration and `choose` leave out members that are dead at the moment of reading."""
    either.register("alive", capabilities={"x"})
    with Agent(either.folder) as agent:
        agent.do("registry.register_many([('dead', {'capabilities': {'x'}}), ('dead2', {'type': 'service'})])")
        assert either.count() == 3
        agent.kill_unreaped()
        assert names(either.find()) == names(either.find(capability="x")) == "alive"
        assert (either.count(), either.count(capability="x"), either.count(type="service"), len(either)) == (1, 1, 0, 1)
        assert [id.local_id for id in either] == ["alive"]
        assert either.choose(type="service") is None


def test_an_answer_is_the_callers_to_keep(team: Registry) -> None:
    """`find` returns a new list each time, which the caller may change."""
    team.find().clear()
    assert names(team.find()) == "abcd"


def test_a_limit_is_for_finding_alone(either: Registry) -> None:
    """All calls that take conditions refuse an unknown keyword, whether members exist or not."""
    calls: dict[str, Any] = {"choose": either.choose, "count": either.count, "wait_for": either.wait_for}
    for _ in range(2):
        for call in calls.values():
            for more in ({}, {"where": lambda _: True}):
                with pytest.raises(TypeError, match="no such condition: limit"):
                    call(limit=1, **more)
        either.get_or_register("a")
