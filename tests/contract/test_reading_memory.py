"""S4 in a reader: the entry cache is bounded by the number of current entries, not by all entries ever read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from adsum import Registry

READS: dict[str, Callable[[Registry, list[str]], object]] = {
    "lookup": lambda registry, names: [registry[name] for name in names],
    "find": lambda registry, _: registry.find(capability="brief"),
}


def _come_and_go(registry: Registry, rounds: int, read: Callable[[Registry, list[str]], object]) -> None:
    for number in range(rounds):
        names = [f"r{number}-{member}" for member in range(500)]
        made = registry.register_many([(name, {"capabilities": {"brief"}}) for name in names])
        read(registry, names)
        for registration in made:
            registry.unregister(registration.process_id)


@pytest.mark.parametrize("how", READS)
def test_names_that_come_and_go_leave_nothing(registry: Registry, how: str) -> None:
    """A reader's memory does not grow with the number of ids that were registered, read and removed."""
    _come_and_go(registry, 6, READS[how])
    tracemalloc.start()
    try:
        _come_and_go(registry, 6, READS[how])
        held, _ = tracemalloc.get_traced_memory()
        _come_and_go(registry, 6, READS[how])
        grown = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()
    # 3,000 entries take about 4 MB.
    assert grown < 1024 * 1024


def test_a_registry_that_shrank_is_forgotten(registry: Registry) -> None:
    """When most entries of a large registry are removed, the next read that finds no entry releases the entry cache."""
    tracemalloc.start()
    try:
        made = registry.register_many([(f"a{number}", {}) for number in range(8000)])
        ids = [registration.process_id for registration in made]
        del made
        before, _ = tracemalloc.get_traced_memory()
        assert all(registry.lookup(id) for id in ids)
        kept = tracemalloc.get_traced_memory()[0] - before
        for id in ids:
            registry.unregister(id)
        assert registry.lookup("nobody") is None
        assert tracemalloc.get_traced_memory()[0] - before < kept / 4
    finally:
        tracemalloc.stop()
