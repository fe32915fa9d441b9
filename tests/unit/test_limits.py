"""`Limits`: the defaults, and what they may not be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adsum import Limits
from adsum._store.environment import map_size_for

DEFAULTS: dict[str, object] = {
    "max_memory_bytes": 100 * 1024 * 1024,
    "registration_timeout": 1.0,
    "cleanup_window": 0.1,
    "max_entries": None,
    "max_metadata_bytes": 64 * 1024,
    "max_capabilities": 256,
    "max_readers": 4096,
    "linger": 30,
}


def test_the_defaults_are_those_promised() -> None:
    """What the contract lists is what `Limits()` has."""
    limits = Limits()
    assert {name: getattr(limits, name) for name in DEFAULTS} == DEFAULTS
    assert limits.max_pending > 0


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), -0.5, "5", [1]])
def test_an_impossible_limit_is_refused(name: str, value: Any) -> None:
    """A limit that is no number, or none that could bound anything, is an error that names it."""
    with pytest.raises((TypeError, ValueError), match=rf"Limits\.{name}"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    "name", ["max_memory_bytes", "max_entries", "max_metadata_bytes", "max_capabilities", "max_readers", "max_pending"]
)
@pytest.mark.parametrize("value", [2_000_000.5, 2_000_000.0, True])
def test_counts_are_whole_numbers(name: str, value: Any) -> None:
    """What is counted cannot be a fraction: a registrar could not read it."""
    with pytest.raises((TypeError, ValueError), match=rf"Limits\.{name}"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", ["linger", "registration_timeout", "cleanup_window"])
@pytest.mark.parametrize("value", [1, 0.5, 1e6])
def test_durations_are_any_number(name: str, value: float) -> None:
    """Seconds may be whole numbers or not."""
    assert getattr(Limits(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("zero", [0, 0.0])
def test_lingering_may_be_nothing(zero: float) -> None:
    """A registrar may leave at once, however zero is written."""
    assert Limits(linger=zero).linger == 0


def test_a_limit_that_does_not_exist_is_refused() -> None:
    """A misspelt limit is an error, not ignored."""
    with pytest.raises(TypeError, match="max_entry"):
        Limits(max_entry=5)  # type: ignore[call-arg]


def test_memory_has_a_least_amount() -> None:
    """Below a megabyte there would be no room to clean up in."""
    Limits(max_memory_bytes=1024 * 1024)
    with pytest.raises(ValueError, match="from 1,048,576"):
        Limits(max_memory_bytes=1024 * 1024 - 1)


@pytest.mark.parametrize("limits", [Limits(), Limits(max_entries=5, linger=1, registration_timeout=1)])
def test_limits_reach_the_registrar(limits: Limits) -> None:
    """What is accepted is the same after it was handed to a registrar and stored in the tables."""
    assert msgspec.json.decode(msgspec.json.encode(limits), type=Limits) == limits
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(limits), type=Limits) == limits


def test_the_map_is_larger_than_the_limit() -> None:
    """The limit bites well before LMDB's map is full: cleanup needs free pages, too."""
    for most in (1024 * 1024, 100 * 1024 * 1024, 2**34):
        assert map_size_for(Limits(max_memory_bytes=most)) >= 2 * most


def test_limits_cannot_be_changed() -> None:
    """`Limits` are immutable: they are chosen once, when the registry is made."""
    with pytest.raises(AttributeError):
        Limits().max_entries = 5  # type: ignore[misc]
