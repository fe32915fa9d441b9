"""`find(order_by=...)`: the order of what is found, and which of it a limit keeps."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from adsum import Entry, InvalidQuery, Registry


def ids(entries: list[Entry]) -> list[str]:
    return [entry.process_id.local_id for entry in entries]


@pytest.fixture
def team(either: Registry) -> Registry:
    """Members with loads, two of them equal, and two without one."""
    loads: dict[str, Any] = {"a": 3, "b": 1.5, "c": "busy", "d": 3, "e": None, "f": -2}
    either.register_many(
        [(id, {"resources": {} if load is None else {"load": load, "slots": ord(id)}}) for id, load in loads.items()]
    )
    return either


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("load", "fbadce"),
        ("-load", "adbfce"),
        (("load", "-slots"), "fbdace"),
        (["-load", "-slots"], "dabfce"),
        (lambda entry: entry.process_id.local_id, "abcdef"),
        (("load", lambda entry: -ord(entry.process_id.local_id)), "fbdaec"),
        pytest.param(lambda entry: None, "abcdef", id="none"),
        pytest.param(lambda entry: math.nan if entry.process_id.local_id == "a" else 1.0, "bcdefa", id="nan"),
        ("unknown", "abcdef"),
        ("-unknown", "abcdef"),
        (None, "abcdef"),
    ],
)
def test_found_entries_are_ordered(team: Registry, order_by: Any, expected: str) -> None:
    """`order_by` is a number's name, its descending form, a function, or several; equals are sorted by id, and entries
    without the number come last in either direction."""
    assert ids(team.find(order_by=order_by)) == list(expected)


def test_the_limit_keeps_the_first_of_the_order(team: Registry) -> None:
    """`limit` counts after the order, and after every condition."""
    assert ids(team.find(order_by="-load", limit=2)) == ["a", "d"]
    assert ids(team.find(order_by="load", limit=2, where=lambda entry: entry.process_id.local_id != "f")) == ["b", "a"]
    assert team.find(order_by="load", limit=0) == []


def test_every_order_agrees_with_a_model(either: Registry) -> None:
    """Any two keys, in any direction, order a random team as a sort of tuples does."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    numbers = {f"m{n}": {name: draw.randrange(4) for name in ("x", "y") if draw.random() < 0.8} for n in range(40)}
    either.register_many([(id, {"resources": resources}) for id, resources in numbers.items()])
    for first, second in itertools.product(("x", "-x"), ("y", "-y")):

        def place(id: str, keys: tuple[str, str] = (first, second)) -> list[object]:
            found = [(numbers[id].get(key.strip("-")), -1 if key[0] == "-" else 1) for key in keys]
            return [*((number is None, (number or 0) * sign) for number, sign in found), id]

        assert ids(either.find(order_by=(first, second))) == sorted(numbers, key=place)


@pytest.mark.parametrize("order_by", ["", "-", (), [], 7, ("load", None), b"load", (("load",),)])
def test_an_impossible_order_is_refused(either: Registry, order_by: Any) -> None:
    """An order that names nothing is an error, whether members match or not."""
    with pytest.raises(InvalidQuery, match="order_by="):
        either.find(order_by=order_by)


def test_an_error_of_the_function_is_the_callers(team: Registry) -> None:
    """An error that the function raises comes out of `find` unchanged."""
    with pytest.raises(ZeroDivisionError):
        team.find(order_by=lambda entry: 1 / 0)
