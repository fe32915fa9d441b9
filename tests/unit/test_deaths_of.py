"""The departures by the death of one process, for its exit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from adsum._store import tables
from adsum._store.environment import create_environment
from adsum._store.tables import Retention
from adsum.model import Departure, Entry, Metadata, Owner, ProcessId

DEAD, OTHER = Owner(3, 3, 0), Owner(4, 4, 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def departure(owner: Owner, how: str, exit: int | None = None) -> Departure:
    entry = Entry(ProcessId("a", "n", "x"), *owner, 1, NOW, NOW, 1, Metadata())
    return Departure(entry, how, NOW, 0.0, exit)


def test_departures_of_others_may_lie_between_those_of_one_death(tmp_path: Path) -> None:
    """One batch may end entries of the dead process, then some of others, then another one of the dead process: all of
    them get its exit. One whose exit is known, or that was no death, gets none."""
    environment = create_environment(tmp_path, 1, 2**24, 64)
    stored = {
        1: departure(DEAD, "unregistered"),
        2: departure(DEAD, "replaced"),
        3: departure(DEAD, "replaced"),
        4: departure(OTHER, "unregistered"),
        5: departure(OTHER, "died"),
        6: departure(DEAD, "replaced"),
        7: departure(DEAD, "died", exit=0),
        8: departure(OTHER, "died"),
    }
    try:
        with tables.write(environment) as transaction:
            transaction.apply([], list(stored.items()), Retention())
        with tables.read(environment) as transaction:
            assert [revision for revision, _ in transaction.deaths_of(DEAD)] == [6, 3, 2]
            assert [revision for revision, _ in transaction.deaths_of(OTHER)] == [8, 5]
    finally:
        environment.close()
