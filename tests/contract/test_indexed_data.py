"""`Limits.indexed`: an index of own data gives what a scan gives, and reads only what may match."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Limits, Registry
from tests.support import Opener

VALUES: list[Any] = [0, 1, 1.0, True, False, None, "1", "", b"1", 2**53 + 1, float(2**53), -0.0, 1.5, float("inf"), [1]]
WANTED: list[Any] = [*VALUES, "absent", {"b": 1}, adsum.at_least(1), 2**53]
NAMES = frozenset({"custom.a", "custom.a.b", "resources.tokens"})


@pytest.fixture
def indexed(opener: Opener) -> Registry:
    return opener(limits=Limits(indexed=NAMES))


def ids(registry: Registry, **conditions: Any) -> list[str]:
    assert registry.count(**conditions) == len(registry.find(**conditions))
    return [entry.process_id.local_id for entry in registry.find(**conditions)]


def test_it_gives_what_a_scan_gives(indexed: Registry) -> None:
    """For values of every kind, after registrations, updates and removals. The seed is printed."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    def fields() -> dict[str, Any]:
        value = chance.choice([*VALUES, {}, {"b": chance.choice(VALUES)}])
        return {"custom": {"a": value}, "resources": {"tokens": chance.choice([1, 1.0, 2, "1"])}}

    for number in range(60):
        indexed.register(f"w{number}", **fields())
    for _ in range(4):
        entries = indexed.find()
        for wanted in WANTED:
            right = [entry.process_id.local_id for entry in entries if _matches(entry.custom["a"], wanted)]
            assert ids(indexed, custom={"a": wanted}) == right, wanted
        for wanted in (1, 2, "1"):
            right = [entry.process_id.local_id for entry in entries if entry.metadata.resources["tokens"] == wanted]
            assert ids(indexed, resources={"tokens": wanted}) == right, wanted
        assert indexed.audit() == []
        for number in chance.sample(range(60), 20):
            indexed.update(f"w{number}", **fields())
        gone = f"w{chance.randrange(60)}"
        indexed.unregister(gone)
        indexed.register(gone, **fields())


def _matches(value: Any, wanted: Any) -> bool:
    """What the docs of `find` say of `custom`."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(_matches(value.get(name), part) for name, part in wanted.items())
    if repr(wanted).startswith("at_least"):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return not isinstance(value, dict) and bool(value == wanted)


def test_a_result_that_is_kept_follows_the_changes(indexed: Registry) -> None:
    """An entry that gets the value, loses it or ends is in the next result, or is not; another's change keeps it."""
    indexed.register("a", custom={"a": "x"})
    for _ in range(2):
        assert ids(indexed, custom={"a": "x"}) == ["a"]
    indexed.register("b", custom={"a": "y"})
    assert ids(indexed, custom={"a": "x"}) == ["a"]
    indexed.update("b", custom={"a": "x"})
    assert ids(indexed, custom={"a": "x"}) == ["a", "b"]
    indexed.update("a", merge=True, custom={"a": None})
    assert ids(indexed, custom={"a": "x"}) == ["b"]
    indexed.unregister("b")
    assert ids(indexed, custom={"a": "x"}) == []


@pytest.mark.parametrize(("name", "is_indexed"), [("a", True), ("c", False)])
def test_only_what_may_match_is_read(indexed: Registry, registry_folder: Path, name: str, is_indexed: bool) -> None:
    """A search reads the entries that have the value; a scan reads all of them."""
    indexed.register_many(
        [(f"w{number}", {"custom": {"a": number % 100, "c": number % 100}}) for number in range(1000)]
    )
    assert len(indexed.find(custom={name: 7})) == 10
    assert len(indexed._reader._tables.cache.young) == (10 if is_indexed else 1000)


def test_a_resource_may_have_dots_in_its_name(opener: Opener) -> None:
    """Then all behind ``resources.`` is its name."""
    registry = opener(limits=Limits(indexed=frozenset({"resources.gpu.memory"})))
    registry.register("a", resources={"gpu.memory": 80})
    registry.register("b", resources={"gpu.memory": 40})
    assert ids(registry, resources={"gpu.memory": 80}) == ["a"]
    assert registry.audit() == []


def test_other_namespaces_are_not_searched(indexed: Registry) -> None:
    """The index is one of a namespace; a search of all namespaces scans."""
    indexed.register("a", custom={"a": "x"})
    indexed.register(("other", "n", "b"), custom={"a": "x"})
    assert ids(indexed, custom={"a": "x"}) == ["a"]
    assert ids(indexed, custom={"a": "x"}, namespace="other") == ["b"]
    assert ids(indexed, custom={"a": "x"}, namespace=adsum.ALL) == ["a", "b"]


def test_all_calls_with_conditions_use_it(indexed: Registry) -> None:
    """`choose`, `wait_for`, `watch` and `claim` find by it too."""
    indexed.register("a", custom={"a": "x"}, slots=1)
    indexed.register("b", custom={"a": "y"}, slots=1)
    conditions: dict[str, Any] = {"custom": {"a": "y"}}
    chosen = indexed.choose(**conditions)
    assert chosen is not None
    assert chosen.process_id.local_id == "b"
    (found,) = indexed.wait_for(timeout=5, **conditions)
    assert found.process_id.local_id == "b"
    with indexed.watch(**conditions) as watch:
        assert [entry.process_id.local_id for entry in watch.snapshot] == ["b"]
    with indexed.claim(timeout=5, **conditions) as claim:
        assert claim.entry.process_id.local_id == "b"


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ("custom.a", TypeError, "must be a set of names"),
        (5, TypeError, "must be a set of names"),
        ({5}, ValueError, "5 is no name such as 'custom.model'"),
        ({"model"}, ValueError, "'model' is no name"),
        ({"custom"}, ValueError, "'custom' is no name"),
        ({"custom."}, ValueError, "is no name"),
        ({"custom.a..b"}, ValueError, "is no name"),
        ({"endpoint.a"}, ValueError, "is no name"),
        ({"custom.a\0b"}, ValueError, "no NUL"),
        ({"custom." + "x" * 200}, ValueError, "at most 128 bytes"),
        ({f"custom.{number}" for number in range(17)}, ValueError, "at most 16 names, not 17"),
    ],
    ids=range(11),
)
def test_an_impossible_name_is_refused(names: Any, error: type[Exception], said: str) -> None:
    """With the name, and what it may be."""
    with pytest.raises(error, match=said):
        Limits(indexed=names)


def test_the_names_are_the_registrys(indexed: Registry, registry_folder: Path) -> None:
    """They are in `limits`; another opener cannot change them."""
    indexed.register("a")
    with pytest.warns(UserWarning, match="indexed"):
        other = adsum.open(path=registry_folder, limits=Limits(indexed=frozenset({"custom.z"})))
    assert other.limits.indexed == NAMES
    other.close()
