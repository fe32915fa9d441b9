"""Every reader sees an acknowledged write, and sees the changes of one request together."""

from __future__ import annotations

import mmap
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from ..support import Child
from .people import gone_from_tables, kill_unreaped, sleeper, sleepers

SECONDS = 3.0
TEAM = 5


class Board:
    """A few numbers in memory that processes share; each number is written by one process only."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR)
        try:
            self.numbers = memoryview(mmap.mmap(descriptor, 64)).cast("Q")
        finally:
            os.close(descriptor)

    @property
    def acknowledged(self) -> int:
        return self.numbers[0]

    @acknowledged.setter
    def acknowledged(self, number: int) -> None:
        self.numbers[0] = number

    @property
    def over(self) -> bool:
        return self.numbers[1] == 1

    def end(self) -> None:
        self.numbers[1] = 1


@pytest.fixture
def board_path() -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="adsum-test-board-") as file:
        file.truncate(64)
        yield file.name


def _see_what_was_acknowledged(folder: str, path: str, way: str) -> None:
    """Read as fast as possible; each read must show at least the value acknowledged before it began."""
    registry = adsum.open(path=folder)
    board = Board(path)
    print("ready")
    reads = 0
    while not board.over:
        least = board.acknowledged
        if way == "lookup":
            seen = registry["subject"].metadata.custom["number"]
        elif way == "cold":
            registry._reader._tables.cache.young.clear()
            seen = registry["subject"].metadata.custom["number"]
        else:
            # The capability changes each time: the entry is found under the new one, not under the one before the last.
            (entry,) = registry.find(type="service")
            seen = entry.metadata.custom["number"]
            late = registry.find(capability=f"n{least - 1}") if least else []
            assert late == [], f"{late} after {least} was acknowledged"
        assert seen >= least, f"{way} showed {seen} after {least} was acknowledged"
        reads += 1
    print(reads)


def test_what_is_acknowledged_is_seen_everywhere(registry: Registry, board_path: str) -> None:
    """L5: after an update is acknowledged, every later read in any process shows it, by id and by index."""
    registry.register("subject", type="service", capabilities={"n0"}, custom={"number": 0})
    board = Board(board_path)
    readers = [
        Child(_see_what_was_acknowledged, registry.folder, board_path, way) for way in ("lookup", "cold", "find")
    ]
    try:
        for reader in readers:
            reader.expect("ready")
        until = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < until:
            number += 1
            registry.update("subject", capabilities={f"n{number}"}, custom={"number": number})
            board.acknowledged = number
        board.end()
        assert min(int(reader.line()) for reader in readers) > 100
        assert number > 100
    finally:
        for reader in readers:
            reader.close()


def _see_all_or_none(folder: str, path: str) -> None:
    registry = adsum.open(path=folder)
    board = Board(path)
    print("ready")
    seen = {0: 0, TEAM: 0}
    while not board.over:
        found = registry.find(capability="team")
        seen[len(found)] = seen.get(len(found), 0) + 1
        assert len({entry.pid for entry in found}) <= 1, f"two teams at once: {found}"
        count = registry.count(capability="team")
        seen[count] = seen.get(count, 0) + 1
    assert set(seen) == {0, TEAM}, f"parts of a team were seen: {seen}"
    print(min(seen.values()))


def test_what_is_changed_together_is_seen_together(registry: Registry, board_path: str) -> None:
    """Readers see all entries of `register_many` or none, and all entries of a process that dies or none."""
    board = Board(board_path)
    with (
        Child(_see_all_or_none, registry.folder, board_path) as one,
        Child(_see_all_or_none, registry.folder, board_path) as other,
        sleepers(120) as processes,
    ):
        one.expect("ready")
        other.expect("ready")
        for process in processes:
            registry.register_many(
                [(f"member-{number}", {"capabilities": {"team"}}) for number in range(TEAM)], process
            )
            kill_unreaped(process)
            gone_from_tables(registry)
        board.end()
        assert int(one.line()) > 10
        assert int(other.line()) > 10


def _see_no_step_back(folder: str, path: str, seed: str) -> None:
    registry = adsum.open(path=folder)
    board = Board(path)
    rng = random.Random(int(seed))
    newest: dict[str, int] = {}
    newest_of_all = 0
    print("ready")
    while not board.over:
        name = f"s{rng.randrange(8)}"
        way = rng.randrange(3)
        entries = [registry[name]] if way == 0 else registry.find(capability=name if way == 1 else "all")
        for entry in entries:
            key = entry.process_id.local_id
            assert entry.revision >= newest.get(key, 0), f"{key} went back from {newest[key]} to {entry.revision}"
            newest[key] = entry.revision
        if way == 2:
            # One snapshot of everything: not older than any state seen before.
            assert max(newest.values()) == max(entry.revision for entry in entries)
        revision = registry.stats().revision
        assert revision >= max(newest_of_all, *newest.values())
        newest_of_all = revision
    print("never")


def test_no_reader_goes_back_in_time(registry: Registry, board_path: str) -> None:
    """A reader never sees an older state of an entry, of an index or of the whole registry after a newer one."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    board = Board(board_path)
    for number in range(8):
        registry.register(f"s{number}", capabilities={"all", f"s{number}"})
    readers = [Child(_see_no_step_back, registry.folder, board_path, seed + reader) for reader in range(2)]
    try:
        for reader in readers:
            reader.expect("ready")
        until = time.monotonic() + SECONDS / 2
        futures = []
        while time.monotonic() < until:
            futures = [registry.register_nowait("nobody"), registry.register_nowait("nobody")]
            for number in range(8):
                registry.update(f"s{number}", custom={"at": time.monotonic()})
            assert sum(future.exception() is None for future in futures) == 1
            registry.unregister("nobody")
        board.end()
        for reader in readers:
            reader.expect("never")
    finally:
        for reader in readers:
            reader.close()


def test_a_death_is_seen_by_every_process(registry: Registry, registry_folder: Path) -> None:
    """After a process has died, no read in any process finds it."""
    with Child(_answer, registry_folder) as one, Child(_answer, registry_folder) as other:
        for _ in range(30):
            with sleeper() as process:
                registry.register("mortal", process)
                for reader in (one, other):
                    reader.say("mortal")
                    reader.expect("True")
                kill_unreaped(process)
                for reader in (one, other):
                    reader.say("mortal")
                    reader.expect("False")


def _answer(folder: str) -> None:
    registry = adsum.open(path=folder)
    while True:
        print(registry.lookup(input()) is not None)
