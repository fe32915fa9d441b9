"""The port of the change feed: a base state, then every change after it, then "lagged"."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from typing import TypeAlias

import pytest

import adsum
from adsum import Entry, ProcessId, Registry, Revision
from adsum._client.follower import Follower
from adsum._reads import change_feed
from adsum._store import history
from adsum._store.feed import ChangeFeed
from adsum._store.query import Query
from tests.support import end_registrar, let_go

# Makes a feed that starts after a revision, or now.
Make: TypeAlias = "Callable[[Registry, int | None], ChangeFeed[list[Entry]]]"


def of_registry(registry: Registry, since: int | None) -> ChangeFeed[list[Entry]]:
    return change_feed(registry, since)


def of_query(registry: Registry, since: int | None) -> ChangeFeed[list[Entry]]:
    """The feed of a watch. Its base is what matches; its changes are those of the whole registry."""
    return Follower(registry._reader, Query(registry.namespace), None, since)._feed


IMPLEMENTATIONS: dict[str, Make] = {"registry": of_registry, "query": of_query}


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request: pytest.FixtureRequest) -> Make:
    """Each implementation of `ChangeFeed`, over a registry with one namespace."""
    return IMPLEMENTATIONS[request.param]


class Copy:
    """A copy of the registry, kept as every consumer of a feed keeps it."""

    def __init__(self, feed: ChangeFeed[list[Entry]]) -> None:
        self._feed = feed
        self.lags = 0
        self.entries = self._base()

    def _base(self) -> dict[ProcessId, Entry]:
        return {entry.process_id: entry for entry in self._feed.base}

    def follow(self) -> None:
        if not self._feed.advance():
            self.lags += 1
            self.entries = self._base()
        while (step := self._feed.take()) is not None:
            if step.after is not None:
                self.entries[step.after.process_id] = step.after
            elif step.before is not None:
                del self.entries[step.before.process_id]


def change(registry: Registry, chance: random.Random) -> None:
    local_id = chance.choice("abcdef")
    if registry.lookup(local_id) is None:
        registry.register(local_id)
    elif chance.random() < 0.5:
        registry.update(local_id, custom={"n": chance.random()})
    else:
        registry.unregister(local_id)


@pytest.fixture
def short_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the history held only four changes."""
    honest = history.steps_since

    def short(*arguments: object, **options: object) -> object:
        steps = honest(*arguments, **options)  # type: ignore[arg-type]
        return None if steps is not None and len(steps) > 4 else steps

    monkeypatch.setattr(history, "steps_since", short)


@pytest.mark.parametrize("seed", range(3))
def test_base_and_changes_lead_to_the_present(make: Make, registry: Registry, seed: int) -> None:
    """At every moment the base and the changes taken since give the registry as it is."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    registry.register("before")
    copy = Copy(make(registry, None))
    for _ in range(60):
        change(registry, chance)
        if chance.random() < 0.3:
            copy.follow()
            assert copy.entries == dict(registry)
    copy.follow()
    assert (copy.entries, copy.lags) == (dict(registry), 0)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_lag_the_base_is_new(make: Make, registry: Registry, seed: int, short_history: None) -> None:
    """A feed that missed changes says so, and is right again from its new base on."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    copy = Copy(make(registry, None))
    for _ in range(60):
        change(registry, chance)
        if chance.random() < 0.15:
            copy.follow()
            assert copy.entries == dict(registry)
    assert copy.lags > 0


def test_the_position_counts_what_was_taken(make: Make, registry: Registry) -> None:
    """The position moves with each change that is taken, and not with those that are only read."""
    registry.register("a")
    feed = make(registry, None)
    start = feed.position
    registry.update("a", endpoint="x")
    registry.update("a", endpoint="y")
    assert feed.advance()
    assert feed.position == start
    first = feed.peek()
    assert first is not None
    assert feed.take() == first
    assert feed.position == (start.epoch, start.revision + 1)
    assert feed.take() is not None
    assert feed.take() is None
    assert feed.peek() is None
    assert feed.position.revision == registry.stats().revision


def test_pending_changes_are_not_read_again(make: Make, registry: Registry) -> None:
    """Advancing while changes are pending adds nothing: they are taken first."""
    feed = make(registry, None)
    registry.register("a")
    assert feed.advance()
    registry.register("b")
    assert feed.advance()
    taken = []
    while (step := feed.take()) is not None:
        taken.append(step)
    assert [step.revision for step in taken] == [1]


def test_a_registry_that_is_made_anew_is_a_lag(make: Make, registry: Registry) -> None:
    """The epoch differs, so the changes of the new registry are not mistaken for those of the old one."""
    registry.register("old")
    copy = Copy(make(registry, None))
    let_go(registry)
    end_registrar(registry.folder)
    shutil.rmtree(registry.folder)
    with adsum.open(path=registry.folder, timeout=10) as again:
        again.register("new")
        copy.follow()
        assert copy.lags == 1
        assert [id.local_id for id in copy.entries] == ["new"]


@pytest.mark.parametrize("keep", [int, lambda revision: revision], ids=["number", "revision"])
def test_a_feed_resumes_from_a_revision(make: Make, registry: Registry, keep: Callable[[Revision], int]) -> None:
    """The base is the state at that revision, and the changes after it lead to the present: no lag."""
    registry.register("a")
    registry.register("b")
    with registry.watch() as watch:
        kept = keep(watch.revision)
        expected = dict(registry)
    registry.update("a", custom={"n": 1})
    registry.unregister("b")
    feed = make(registry, kept)
    copy = Copy(feed)
    assert (copy.entries, feed.position.revision) == (expected, 2)
    copy.follow()
    assert (copy.entries, copy.lags, feed.position.revision) == (dict(registry), 0, 4)


@pytest.mark.parametrize("since", [0, 99, Revision(6, epoch=1)], ids=["too old", "never reached", "other epoch"])
def test_a_revision_that_is_not_in_the_history_is_a_lag(
    make: Make, registry: Registry, since: int, short_history: None
) -> None:
    """A feed that cannot resume says so once, and starts from the present."""
    for number in range(6):
        registry.register(f"a{number}")
    copy = Copy(make(registry, since))
    assert copy.entries == dict(registry)
    registry.register("b")
    copy.follow()
    copy.follow()
    assert (copy.entries, copy.lags) == (dict(registry), 1)


def test_a_registry_that_is_removed_is_gone(make: Make, registry: Registry) -> None:
    """No change reports the removal; the feed answers that its registry is gone, and can start again without one."""
    registry.register("a")
    copy = Copy(feed := make(registry, None))
    assert not feed.is_gone()
    let_go(registry)
    end_registrar(registry.folder)
    shutil.rmtree(registry.folder)
    registry._reader.recheck_folder()
    assert feed.is_gone()
    copy.follow()
    assert ([id.local_id for id in copy.entries], copy.lags) == (["a"], 0)
    feed.restart()
    assert feed.base == []
    assert not feed.is_gone()


def test_before_the_registry_is_made_the_base_is_empty(make: Make, registry: Registry) -> None:
    """All changes of a registry that does not exist yet come to a feed that waits for it."""
    copy = Copy(make(registry, None))
    assert copy.entries == {}
    registry.register("first")
    copy.follow()
    assert [id.local_id for id in copy.entries] == ["first"]
