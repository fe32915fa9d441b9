"""Dictionaries and lists that refuse to change."""

from __future__ import annotations

import copy
import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum._frozen import EMPTY_DICT, EMPTY_LIST, FrozenDict, FrozenList, freeze

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def is_frozen(value: object) -> bool:
    """Whether no plain dict or list is anywhere in it."""
    if isinstance(value, dict):
        return type(value) is FrozenDict and all(map(is_frozen, value.values()))
    if isinstance(value, list):
        return type(value) is FrozenList and all(map(is_frozen, value))
    return True


@given(PLAIN)
def test_freezing_keeps_the_value(value: object) -> None:
    """What is frozen equals what it was made from, all the way down, and pickles and encodes alike."""
    frozen = freeze(value)
    assert frozen == value
    assert is_frozen(frozen)
    twin = pickle.loads(pickle.dumps(frozen))
    assert twin == value
    assert is_frozen(twin)
    assert is_frozen(copy.deepcopy(frozen))
    assert msgspec.msgpack.encode(frozen) == msgspec.msgpack.encode(value)


def test_tuples_become_lists() -> None:
    """A tuple in the data is a list, as it will be after it has been stored."""
    assert freeze({"a": (1, (2,))}) == {"a": [1, [2]]}


def test_empty_ones_are_shared() -> None:
    """All empty dictionaries are one object, and all empty lists; an entry without data costs nothing for it."""
    assert freeze({}) is EMPTY_DICT
    assert freeze([]) is freeze(()) is EMPTY_LIST


DICT_CHANGES = ["clear", "pop", "popitem", "setdefault", "update", "__setitem__", "__delitem__", "__ior__"]
LIST_CHANGES = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
    "__setitem__",
    "__delitem__",
    "__iadd__",
    "__imul__",
]


@pytest.mark.parametrize("name", DICT_CHANGES)
def test_every_way_to_change_a_dictionary_is_refused(name: str) -> None:
    """The error says to copy."""
    with pytest.raises(TypeError, match="copy it"):
        getattr(FrozenDict(a=1), name)()


@pytest.mark.parametrize("name", LIST_CHANGES)
def test_every_way_to_change_a_list_is_refused(name: str) -> None:
    """The error says to copy."""
    with pytest.raises(TypeError, match="copy it"):
        getattr(FrozenList([1]), name)()


@pytest.mark.parametrize(("kind", "known"), [(dict, DICT_CHANGES), (list, LIST_CHANGES)])
def test_no_way_to_change_is_forgotten(kind: type, known: list[str]) -> None:
    """Whatever a dict or list has beyond what an immutable mapping or tuple has, is refused or makes something new."""
    reading = {*dir(tuple), "keys", "values", "items", "get", "fromkeys", "copy", "__or__", "__ror__", "__reversed__"}
    changing = {name for name in dir(kind) if name not in reading and not name.startswith("__init")}
    assert changing - {"__class_getitem__"} <= set(known)


def test_they_are_dictionaries_and_lists() -> None:
    """Reading, comparing, merging and JSON are those of the plain kinds."""
    frozen = freeze({"a": [1, {"b": 2}]})
    assert json.loads(json.dumps(frozen)) == {"a": [1, {"b": 2}]}
    assert frozen | {"c": 3} == {"a": [1, {"b": 2}], "c": 3}
    assert [*frozen["a"], 4] == [1, {"b": 2}, 4]
    assert frozen.copy() == dict(frozen)
    assert frozen["a"][::-1] == [{"b": 2}, 1]


@pytest.mark.parametrize("value", [FrozenDict(a=1), FrozenList([1])])
def test_they_are_no_keys(value: object) -> None:
    """As their plain kinds they have no hash."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)
