"""`choose` by a number: least, two choices, weighted."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from adsum import Entry, InvalidQuery, MetadataKeywords, Registry

WAYS = ["least", "two_choices", "weighted"]


def register(registry: Registry, numbers: Mapping[str, Any], name: str = "load") -> None:
    """Register members with these numbers; with none where it is None."""
    fields: list[tuple[str, MetadataKeywords]] = [
        (id, {} if number is None else {"resources": {name: number}}) for id, number in numbers.items()
    ]
    registry.register_many(fields)


def drawn(registry: Registry, times: int, **arguments: Any) -> Counter[str]:
    """How often each member was chosen. The seed is printed, so that a failure can be repeated."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"random.seed({seed})")
    random.seed(seed)
    chosen = [registry.choose(**arguments) for _ in range(times)]
    return Counter(entry.process_id.local_id for entry in chosen if entry is not None)


def local_id(entry: Entry | None) -> str | None:
    return None if entry is None else entry.process_id.local_id


def test_least_is_the_smallest_number(either: Registry) -> None:
    """``least`` chooses the member with the smallest number, negative and infinite ones included."""
    register(either, {"a": 3, "b": 0.5, "c": math.inf, "d": 2})
    assert local_id(either.choose(by="least", key="load")) == "b"
    either.update("d", resources={"load": -1})
    assert local_id(either.choose(by="least", key="load")) == "d"


def test_least_of_equals_is_the_first_by_id(either: Registry) -> None:
    """Of several members with the smallest number, ``least`` chooses the first one by id."""
    register(either, {"c": 1, "b": 1, "a": 2})
    assert {local_id(either.choose(by="least", key="load")) for _ in range(10)} == {"b"}


@pytest.mark.parametrize("by", ["least", "two_choices"])
@pytest.mark.parametrize("missing", [None, "busy", math.nan], ids=["absent", "string", "nan"])
def test_a_member_without_the_number_comes_last(either: Registry, by: Any, missing: object) -> None:
    """A member that has no number under the name, a string or NaN, is chosen only where no other is to be had."""
    register(either, {"a": missing, "b": 1e300})
    assert drawn(either, 50, by=by, key="load") == {"b": 50}
    either.unregister("b")
    assert local_id(either.choose(by=by, key="load")) == "a"


@pytest.mark.parametrize("by", WAYS)
def test_a_key_may_be_a_function(either: Registry, by: Any) -> None:
    """The key may be a function of an entry, which returns a number or None."""
    register(either, {"a": 3, "b": 0}, "queue")
    key: Callable[[Entry], float | None] = {
        "weighted": lambda entry: float(entry.process_id.local_id == "b"),
    }.get(by, lambda entry: float(entry.metadata.resources["queue"]))
    assert drawn(either, 30, by=by, key=key) == {"b": 30}


@pytest.mark.parametrize("by", WAYS)
def test_a_function_that_returns_no_number_is_refused(either: Registry, by: Any) -> None:
    """`choose` raises an error that names the member for which the function returned something else."""
    register(either, {"a": 1})
    with pytest.raises(ValueError, match=r"returned '1' for default/.*/a: return a number, or None"):
        either.choose(by=by, key=lambda _: "1")  # type: ignore[arg-type]


def test_two_choices_spread_and_avoid_the_busy(either: Registry) -> None:
    """``two_choices`` never chooses the member with the largest number, and chooses the others the more often the
    smaller their number: of four members 3, 2, 1 and 0 times in 6."""
    register(either, {"a": 1, "b": 2, "c": 3, "d": 4})
    found = drawn(either, 1200, by="two_choices", key="load")
    # Six standard deviations of a binomial distribution.
    for id, chance in (("a", 1 / 2), ("b", 1 / 3), ("c", 1 / 6), ("d", 0)):
        assert abs(found[id] - 1200 * chance) <= 6 * math.sqrt(1200 * chance * (1 - chance)), found


def test_two_choices_among_equals_reach_all(either: Registry) -> None:
    """``two_choices`` reaches every member where all numbers are equal."""
    register(either, dict.fromkeys("abc", 1))
    assert set(drawn(either, 300, by="two_choices", key="load")) == {"a", "b", "c"}


def test_weighted_is_proportional(either: Registry) -> None:
    """``weighted`` chooses in proportion to ``resources["weight"]``; a member without a weight has 1."""
    register(either, {"a": 3, "b": None, "c": 0, "d": -5, "e": 6}, "weight")
    found = drawn(either, 2000, by="weighted")
    for id, chance in (("a", 0.3), ("b", 0.1), ("c", 0), ("d", 0), ("e", 0.6)):
        assert abs(found[id] - 2000 * chance) <= 6 * math.sqrt(2000 * chance * (1 - chance)), found


def test_weighted_by_another_number(either: Registry) -> None:
    """``weighted`` takes the number that `key` names."""
    register(either, {"a": 0, "b": 5}, "free")
    assert drawn(either, 30, by="weighted", key="free") == {"b": 30}


def test_weights_may_be_huge(either: Registry) -> None:
    """Weights whose sum is no finite number are shares all the same, and an infinite one leaves none to the others."""
    register(either, {"a": 1e308, "b": 1e308, "c": 1e308}, "weight")
    assert set(drawn(either, 300, by="weighted")) == {"a", "b", "c"}
    either.update("b", resources={"weight": math.inf})
    assert set(drawn(either, 30, by="weighted")) == {"b"}


@pytest.mark.parametrize("by", ["least", "two_choices", "weighted"])
def test_a_number_may_be_larger_than_any_float(either: Registry, by: Any) -> None:
    """A function may return one: it counts as infinite."""
    register(either, {"a": 1, "b": 2}, "free")
    chosen = drawn(either, 10, by=by, key=lambda entry: entry.metadata.resources["free"] * 10**400 - 10**400)
    assert set(chosen) == {"b" if by == "weighted" else "a"}


def test_without_a_weight_above_zero_none_is_chosen(either: Registry) -> None:
    """``weighted`` gives None where every member has a weight of 0 or less."""
    register(either, {"a": 0, "b": -1}, "weight")
    assert either.choose(by="weighted") is None


@pytest.mark.parametrize("by", WAYS)
def test_without_a_match_the_choice_is_none(either: Registry, by: Any) -> None:
    """`choose` by a number gives None where no member matches; unhealthy members do not by default."""
    either.register("sick", health_status="unhealthy", resources={"load": 0})
    assert either.choose(by=by, key="load") is None
    assert local_id(either.choose(by="least", key="load", health_status=None)) == "sick"


@pytest.mark.parametrize("by", ["least", "two_choices"])
def test_a_key_is_needed(either: Registry, by: Any) -> None:
    """``least`` and ``two_choices`` without a key are an error, whether members match or not."""
    with pytest.raises(InvalidQuery, match="key=None: give the name of a gauge or of a number"):
        either.choose(by=by)


@pytest.mark.parametrize("key", ["", 7, ("load",), b"load"])
@pytest.mark.parametrize("by", WAYS)
def test_an_impossible_key_is_refused(either: Registry, by: Any, key: Any) -> None:
    """A key that is neither a name nor a function is an error."""
    with pytest.raises(InvalidQuery, match="key="):
        either.choose(by=by, key=key)


@pytest.mark.parametrize("by", ["random", "round_robin", lambda members: members[0]])
def test_a_needless_key_is_refused(either: Registry, by: Any) -> None:
    """A key for a way to choose that compares no numbers is an error: the caller expects it to count."""
    with pytest.raises(ValueError, match="compares no numbers"):
        either.choose(by=by, key="load")
