"""The mirror behind `adsum top`: a live copy of a whole registry, and its rates."""

from __future__ import annotations

import random

import pytest

import adsum
from adsum import Registry, RegistryClosed
from adsum._store import history
from adsum.views.mirror import Mirror, Scope
from adsum.views.rates import MISSED
from tests.support import Opener, end_registrar, eventually, let_go, remove_folder


@pytest.mark.parametrize("history_rows", [4, 8192])
@pytest.mark.parametrize("seed", range(4))
def test_the_mirror_equals_the_registry(
    registry: Registry, seed: int, history_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any changes in any namespaces, whether the mirror followed each or missed some, it holds the registry's
    entries."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    mirror = Mirror(registry, Scope())
    if history_rows < 8192:
        _forget_history_after(monkeypatch, history_rows)
    with adsum.open(path=registry.folder, namespace="other", node=registry.node, timeout=10) as other:
        for _ in range(60):
            where, local_id = chance.choice([registry, other]), chance.choice("abcdef")
            if where.lookup(local_id) is None:
                where.register(local_id)
            elif chance.random() < 0.5:
                where.update(local_id, custom={"n": chance.random()})
            else:
                where.unregister(local_id)
            if chance.random() < 0.3:
                mirror.follow()
        mirror.follow()
        present = registry.find() + other.find()
    assert mirror.entries == {entry.process_id: entry for entry in present}
    assert mirror.counts().namespaces == {
        name: count
        for name in ("default", "other")
        if (count := sum(entry.process_id.namespace == name for entry in present))
    }


def _forget_history_after(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Make the history hold only so many changes."""
    original = history.steps_since

    def short(*args: object, **named: object) -> object:
        steps = original(*args, **named)  # type: ignore[arg-type]
        return None if steps is not None and len(steps) > rows else steps

    monkeypatch.setattr(history, "steps_since", short)


def test_rates_are_by_kind(registry: Registry) -> None:
    """The changes per second are counted by kind."""
    mirror = Mirror(registry, Scope())
    registry.register("a")
    registry.update("a", custom={"n": 1})
    registry.update("a", custom={"n": 2})
    registry.unregister("a")
    assert mirror.follow()
    rates = mirror.rates()
    assert rates["updated"] == 2 * rates["registered"] == 2 * rates["unregistered"] > 0
    assert rates["died"] == rates[MISSED] == 0
    assert not mirror.follow()


def test_a_registry_that_was_removed_is_empty(registry: Registry) -> None:
    """After the folder was removed, the mirror is empty."""
    registry.register("old")
    mirror = Mirror(registry, Scope())
    let_go(registry)
    end_registrar(registry.folder)
    remove_folder(registry.folder)
    eventually(lambda: mirror.follow() and not mirror.entries)


def test_a_recreated_registry_is_read_again(registry: Registry) -> None:
    """After the folder was removed and created again, the mirror holds the new registry."""
    registry.register("old")
    mirror = Mirror(registry, Scope())
    let_go(registry)
    remove_folder(registry.folder)
    with adsum.open(path=registry.folder, timeout=10) as again:
        again.register("new")
        eventually(lambda: mirror.follow() and [id.local_id for id in mirror.entries] == ["new"])


def test_a_mirror_ends_with_its_registry(opener: Opener) -> None:
    """After the registry was closed, `follow` raises, and does not open the tables again."""
    closed = opener()
    closed.register("a")
    mirror = Mirror(closed, Scope())
    closed.close()
    with pytest.raises(RegistryClosed):
        mirror.follow()


def test_a_scope_selects_entries(registry: Registry) -> None:
    """A mirror of one namespace or node holds and counts the entries there, and no others."""
    mirror = Mirror(registry, Scope("other", "n1"))
    registry.register(("other", "n1", "a"))
    registry.register(("other", "n2", "b"))
    registry.register("c")
    assert mirror.follow()
    assert [id.local_id for id in mirror.entries] == ["a"]
    assert mirror.counts().namespaces == {"other": 1}
    registry.unregister(("other", "n1", "a"))
    assert mirror.follow()
    assert mirror.entries == {}
