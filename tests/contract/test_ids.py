"""Ids: what identifies an entry, and what does not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from adsum import InvalidProcessId, ProcessId, Registry
from tests.support import Opener

INVALID: list[Any] = [
    "",
    "a\0b",
    "\ud800",
    ("", "n", "a"),
    ("s", "", "a"),
    ("s", "n", ""),
    ("s\0", "n", "a"),
    ("s", "n", "a\udfff"),
    ("s", "n"),
    ("s", "n", "a", "b"),
    ("s", 5, "a"),
    ("s", "n", None),
    (),
    ["s", "n", "a"],
    frozenset({"s", "n", "a"}),
    {"s": 1, "n": 2, "a": 3},
    b"a",
    5,
    1.5,
    None,
    object(),
]

CALLS: dict[str, Callable[[Registry, Any], object]] = {
    "register": lambda registry, id: registry.register(id),
    "register_many": lambda registry, id: registry.register_many([("fine", {}), (id, {})]),
    "get_or_register": lambda registry, id: registry.get_or_register(id),
    "update": lambda registry, id: registry.update(id),
    "update_health": lambda registry, id: registry.update_health(id, "healthy"),
    "unregister": lambda registry, id: registry.unregister(id),
    "lookup": lambda registry, id: registry.lookup(id),
    "getitem": lambda registry, id: registry[id],
}


def test_a_string_is_a_local_id(opener: Opener) -> None:
    """A plain string means (registry.namespace, registry.node, string) in every call that takes an id."""
    registry = opener(namespace="team", node="rack")
    registration = registry.register("a")
    assert registration.process_id == ProcessId("team", "rack", "a") == registry["a"].process_id
    assert registry.lookup(("team", "rack", "a")) == registry.lookup("a") == registry.lookup(registration.process_id)


def test_a_tuple_names_all_three_parts(either: Registry) -> None:
    """A tuple of three strings names all parts, whatever the registry's own namespace and node are."""
    either.register(("other", "node", "a"))
    entry = either.lookup(("other", "node", "a"))
    assert entry is not None
    assert isinstance(entry.process_id, ProcessId)
    assert entry.process_id == ("other", "node", "a")
    assert either.lookup("a") is None
    assert either.unregister(("other", "node", "a"))


def test_an_id_reads_as_a_path() -> None:
    """`str` of an id is namespace/node/local_id."""
    assert str(ProcessId("ns", "node", "a")) == "ns/node/a"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("id", INVALID, ids=[f"{number}-{type(id).__name__}" for number, id in enumerate(INVALID)])
def test_an_invalid_id_is_refused(either: Registry, call: str, id: Any) -> None:
    """An invalid id raises `InvalidProcessId`, a `ValueError`, in every call that takes an id."""
    with pytest.raises(InvalidProcessId) as caught:
        CALLS[call](either, id)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("id", "remedy"),
    [
        ("", "give three non-empty strings"),
        ("a\0b", "give strings without NUL"),
        ("x" * 500, "shorten it"),
        (("a", "b"), "give a string, or ProcessId"),
        ("\ud800", "not valid Unicode text"),
    ],
)
def test_the_refusal_says_what_to_give(either: Registry, id: Any, remedy: str) -> None:
    """The message says what a valid id looks like."""
    with pytest.raises(InvalidProcessId, match=remedy):
        either.register(id)


@pytest.mark.parametrize("id", INVALID, ids=[f"{number}-{type(id).__name__}" for number, id in enumerate(INVALID)])
def test_an_invalid_id_is_in_no_registry(either: Registry, id: Any) -> None:
    """`in` is False for any object that is not a valid id, as with a dictionary."""
    assert id not in either


def test_a_row_of_the_tables_is_no_id(either: Registry) -> None:
    """The bytes of a row's key do not find its entry: an id consists of strings."""
    incarnation = either.register("a").entry.incarnation
    assert either.find()
    with pytest.raises(InvalidProcessId):
        either.lookup(struct.pack(">Q", incarnation))  # type: ignore[arg-type]


@pytest.mark.parametrize("letter", ["x", "é", "漢", "🜁"])
def test_an_id_has_at_most_480_bytes(opener: Opener, letter: str) -> None:
    """The three parts together may have up to 480 bytes of UTF-8."""
    registry = opener(namespace="ns", node="node")
    size = len(letter.encode())
    room = 480 - len("ns" + "node")
    longest = letter * (room // size) + "y" * (room % size)
    assert registry.register(longest, capabilities={"long"}).process_id.local_id == longest
    assert [entry.process_id.local_id for entry in registry.find(capability="long", node="node")] == [longest]
    assert registry[longest].process_id == ("ns", "node", longest)
    with pytest.raises(InvalidProcessId, match="481 bytes of UTF-8, at most 480"):
        registry.register(longest + "z")
    with pytest.raises(InvalidProcessId, match="481 bytes"):
        registry.lookup(longest + "z")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_part_may_be_the_long_one(either: Registry, place: int) -> None:
    """Any one part may use all 480 bytes but two, and `find` and `count` by its parts find the entry."""
    parts = ["a", "b", "c"]
    parts[place] = "x" * 478
    id = ProcessId(*parts)
    entry = either.register(id, type="service").entry
    assert either.find(namespace=id.namespace, node=id.node, type="service") == [entry]
    assert either.count(namespace=id.namespace) == 1


@pytest.mark.parametrize("id", ["a b", "a/b", "../a", "日本", "a\nb", " ", "\x01", "A", "a" * 255])
def test_any_other_text_is_an_id(either: Registry, id: str) -> None:
    """Slashes, spaces, control characters and any script are allowed in an id, and are returned unchanged."""
    either.register(id)
    assert either[id].process_id.local_id == id
    assert [process_id.local_id for process_id in either] == [id]


def test_parts_are_not_confused(either: Registry) -> None:
    """Ids whose joined text is equal are still different ids."""
    either.register(("a", "b/c", "d"))
    assert either.lookup(("a", "b", "c/d")) is None
    assert either.lookup(("a/b", "c", "d")) is None
    either.register(("a", "b", "c/d"))
    assert either.count(namespace="a") == 2


class Name(str):
    """A subclass of str, as libraries define them."""


def test_an_id_of_a_derived_class_is_its_text(opener: Opener) -> None:
    """A string of a subclass names the same id as the equal plain string, in every part."""
    registry = opener(namespace=Name("s"), node=Name("n"))
    entry = registry.register(Name("a")).entry
    assert entry.process_id == ("s", "n", "a")
    assert {type(part) for part in registry["a"].process_id} == {str}
    assert registry.update_health(Name("a"), "degraded").process_id == ("s", "n", "a")
    assert registry.unregister((Name("s"), Name("n"), Name("a")))
