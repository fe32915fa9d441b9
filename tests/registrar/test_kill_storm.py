"""The registrar is killed again and again while several processes write."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest

import adsum

from ..support import Child, eventually, kill_registrar
from .writers import tally, write

WRITERS = 4


def under_way(registry: adsum.Registry, until: float) -> None:
    """Wait until a registrar commits again, or until that time."""
    seen = registry.stats().revision
    eventually(lambda: registry.stats().revision > seen or time.monotonic() > until, within=60)


def storm(folder: Path, seconds: float) -> None:
    """Kill registrars at random moments under writers; then compare the acknowledged writes with the tables."""
    seed = os.environ.get("ADSUM_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"ADSUM_SEED={seed}")
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack, adsum.open(path=folder, timeout=30) as registry:
        registry.register("first")
        writers = [
            stack.enter_context(Child(write, folder, f"writer{number}", seed, seconds)) for number in range(WRITERS)
        ]
        until = time.monotonic() + seconds
        kills = 0
        while time.monotonic() < until:
            if chance.random() < 0.8:
                # Under way again; now and then also one that only starts.
                under_way(registry, until)
            # Not to wait for something: the moment of a kill is to be any moment.
            time.sleep(chance.uniform(0.0, 0.1))
            kills += kill_registrar(folder) is not None
        print(f"{kills} kills")
        tallies = [tally(writer.line(within=60)) for writer in writers]

        assert kills > 2
        assert [wrong for one in tallies for wrong in one.wrong] == []
        assert registry.stats().revision == 1 + sum(one.revisions for one in tallies)
        standing = {name: count for one in tallies for name, count in one.standing.items()}
        found = {entry.process_id.local_id: entry.metadata.custom.get("count") for entry in registry.find()}
        assert found == {**standing, "first": None}
        assert registry.audit() == []
        for writer in writers:
            writer.finish()
        registry.register("last")
        eventually(lambda: registry.stats().entries == 2)
        assert registry.audit() == []


def test_nothing_acknowledged_is_lost_or_doubled(registry_folder: Path) -> None:
    """However often the registrar is killed, every acknowledged write is in the tables, once."""
    storm(registry_folder, 6.0)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_or_doubled_in_a_minute(registry_folder: Path) -> None:
    """The same for a minute."""
    storm(registry_folder, 60.0)
