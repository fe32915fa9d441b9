"""``choose(by="least")`` over gauges: all of them are read at once, and the answer is that of reading one by one."""

from __future__ import annotations

import contextlib
import math
import random
from types import SimpleNamespace
from typing import Any

import pytest

from adsum import Entry, Registry
from adsum._columns import Column
from adsum._member_row import GAUGE_CHECK, gauges_at, key_of
from adsum._ordering import number_of
from adsum._store.member_rows import MemberRows

VALUES = (0.0, -0.0, 1.0, 1.0, -1.5, 2.5, math.inf, -math.inf, 5e-324)


def seeded() -> random.Random:
    """Random numbers, whose seed is printed, so that a failure can be repeated."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def least_one_by_one(registry: Registry, name: str, **conditions: Any) -> Entry | None:
    """The answer without any shortcut: the first healthy member by id that has the least number."""
    members = registry.find(health_status="healthy", **conditions)
    with_number = [(number, member) for member in members if (number := number_of(member, name)) is not None]
    if not with_number:
        return members[0] if members else None
    return min(with_number, key=lambda pair: pair[0])[1]


def test_the_answer_is_that_of_reading_one_by_one(registry: Registry) -> None:
    """Whatever was registered, set, changed and removed before, ``least`` is the least, and the first of equals."""
    rng = seeded()
    registered: dict[str, Any] = {}
    for _ in range(250):
        id = f"w{rng.randrange(12)}"
        step = rng.random()
        if id not in registered:
            gauges = {"load": rng.choice(VALUES), "queue": rng.choice(VALUES)}
            fields: dict[str, Any] = {"gauges": gauges} if step < 0.8 else {"resources": {"load": rng.random()}}
            registered[id] = registry.register(id, capabilities={rng.choice("xy")}, **fields)
        elif step < 0.7 and registered[id].gauges:
            registered[id].gauges[rng.choice(["load", "queue"])] = rng.choice(VALUES)
        elif step < 0.8:
            registered.pop(id).unregister()
        elif step < 0.9:
            registered[id].update_health(rng.choice(["healthy", "degraded"]))
        for name, conditions in (("load", {}), ("load", {"capability": "x"}), ("queue", {}), ("absent", {})):
            expected = least_one_by_one(registry, name, **conditions)
            assert registry.choose(by="least", key=name, **conditions) == expected  # type: ignore[arg-type]


def test_values_that_do_not_fit_are_not_believed(registry: Registry) -> None:
    """Beside a check that does not fit, a value counts as that of the registration, as in `Entry.gauges`."""
    team = registry.register_many([(f"w{n}", {"gauges": {"load": float(n)}}) for n in range(4)])
    kept_column(registry, "load")
    for registration in team:
        registration.gauges["load"] = 9.0
    words, at = registry._client.gauges._board.rows.words, gauges_at(registry["w3"])
    assert registry.choose(by="least", key="load") == registry["w0"]
    for wrong in (0, 1 << 63, int.from_bytes(b"nonsense", "little")):
        words[at + GAUGE_CHECK] = wrong
        assert registry.choose(by="least", key="load") == registry["w3"], "the value of its registration is 3"
        assert registry.gauge("w3", "load") == 3.0
    team[3].gauges["load"] = 10.0
    assert registry.choose(by="least", key="load") == registry["w0"]
    team[2].gauges["load"] = -1.0
    assert registry.choose(by="least", key="load") == registry["w2"]


@pytest.mark.parametrize("stopped_after", range(4))
@pytest.mark.parametrize("kept", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("before", [1, 2], ids=["the first copy", "the second copy"])
def test_a_writer_that_is_stopped_between_two_words_has_a_value(
    registry: Registry, stopped_after: int, kept: bool, before: int
) -> None:
    """The value is the one before the change, or the one after it, and never that of the registration: wherever the
    writer has no processor any more, and for however long."""
    registry.register_many([(f"w{n}", {"gauges": {"load": 0.0}}) for n in range(3)])
    for n in range(3):
        registry.set_gauge(f"w{n}", "load", 5.0 + n)
    if kept:
        kept_column(registry, "load")
    rows, entry = registry._client.gauges._board.rows, registry["w2"]
    at = gauges_at(entry)
    if before == 2:
        # As several writers may leave it: only the second copy fits.
        rows.words[at] = 0
    words = StoppingWords(rows.words, stopped_after)
    writer = SimpleNamespace(words=words, floats=StoppingWords(rows.floats, 0, words))
    with contextlib.suppress(InterruptedError):
        MemberRows.write(writer, at, key_of(entry), 1.0)  # type: ignore[arg-type]
    seen = registry.gauge("w2", "load")
    assert seen in (7.0, 1.0)
    assert registry["w2"].gauges == {"load": seen}
    expected = registry["w2" if seen == 1.0 else "w0"]
    assert registry.choose(by="least", key="load") == expected
    assert registry.find(order_by="load", limit=1) == [expected]
    registry.set_gauge("w2", "load", 2.0)
    assert registry.gauge("w2", "load") == 2.0
    assert registry.choose(by="least", key="load") == registry["w2"]


class StoppingWords:
    """Words of shared memory whose writer ends after so many writes."""

    def __init__(self, words: Any, left: int, counts: StoppingWords | None = None) -> None:
        self.words = words
        self.left = left
        self.counts = counts or self

    def __getitem__(self, at: int) -> Any:
        return self.words[at]

    def __setitem__(self, at: int, value: Any) -> None:
        if not self.counts.left:
            raise InterruptedError
        self.counts.left -= 1
        self.words[at] = value


@pytest.mark.parametrize("members", [1, 63, 64, 65, 200])
def test_a_change_in_any_block_is_seen(members: int, registry: Registry) -> None:
    """Members are compared in blocks: the least is found wherever it changes, there and back."""
    rng = seeded()
    team = registry.register_many([(f"w{n:03}", {"gauges": {"load": 1.0}}) for n in range(members)])
    kept_column(registry, "load")
    values = [1.0] * members
    for _ in range(300):
        changed = rng.randrange(members)
        team[changed].gauges["load"] = values[changed] = rng.choice([0.0, 1.0, 2.0])
        chosen = registry.choose(by="least", key="load")
        assert chosen is not None
        assert chosen.process_id.local_id == f"w{values.index(min(values)):03}"


def kept_column(registry: Registry, name: str) -> Column:
    """What a choice keeps of the numbers, once it was made."""
    registry.choose(by="least", key=name)
    registry.choose(by="least", key=name)
    (kept,) = registry._reader._tables.results._results.values()
    assert kept.result is not None
    column: Column | None = kept.result.columns[name]
    assert column is not None
    return column


def test_members_in_any_order_of_rows(registry: Registry) -> None:
    """The ids need not be in the order in which the members were registered, nor the rows side by side."""
    ids = [f"w{n}" for n in range(40)]
    rng = seeded()
    rng.shuffle(ids)
    for id in ids:
        registry.register(id, gauges={"other": 0.0, "load": 1.0} if rng.random() < 0.5 else {"load": 1.0})
    assert registry.choose(by="least", key="load") == registry["w0"]
    assert isinstance(kept_column(registry, "load").least(), int)
    for id in rng.sample(ids, 10):
        registry.set_gauge(id, "load", 0.5 - int(id[1:]) / 1000)
        assert registry.choose(by="least", key="load") == least_one_by_one(registry, "load")


@pytest.mark.parametrize("dead", ["unregistered", "expired"])
def test_the_best_is_gone(registry: Registry, dead: str) -> None:
    """The member with the least number is not chosen once it is gone, whatever is kept of it."""
    team = registry.register_many([(f"w{n}", {"gauges": {"load": float(n)}}) for n in range(3)])
    assert registry.choose(by="least", key="load") == registry.choose(by="least", key="load") == registry["w0"]
    if dead == "unregistered":
        team[0].unregister()
    else:
        registry.register("w0", replace=True)
    assert registry.choose(by="least", key="load") == registry["w1"]


def test_many_names_are_not_kept_for_ever(registry: Registry) -> None:
    """A program that asks for ever new names keeps a bounded number of them."""
    registry.register("w", gauges={"load": 1.0})
    random.seed(0)
    kept_column(registry, "load")
    for n in range(100):
        assert registry.choose(by="least", key=f"name-{n}") == registry["w"]
    (kept,) = registry._reader._tables.results._results.values()
    assert kept.result is not None
    assert len(kept.result.columns) <= 8
