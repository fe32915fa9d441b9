"""Damaged files: an error that names the file and the remedy, or a registry that works; no wrong answer and no crash.

The accounts come from another process, whose end by SIGBUS or SIGSEGV would be seen.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import adsum
from adsum import Registry
from adsum._client.launch import Launch
from adsum._client.spawn import start_registrar
from adsum._member_row import ROW_WORDS
from adsum._store.page_layout import BOARD_COUNTERS_AT, LIFELINES_AT, ROWS_AT, WORD_BYTES

from ..support import eventually, kill_registrar, registrar_pid
from .by_hand import exchange, register, unregister
from .witness import Account, Witness

Damage: TypeAlias = Callable[[Path], object]
KNOWN = "known ['work']"
ENTRIES = 200


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    with Witness() as started:
        yield started


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """The folder of a registry with some entries and no registrar, to be copied and damaged."""
    base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
    folder = base / "whole"
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("known", capabilities={"work"})
        registry.register_many([(f"other-{number}", {"custom": {"x": "y" * 100}}) for number in range(ENTRIES - 1)])
    kill_registrar(folder)
    (folder / "socket").unlink()
    yield folder
    shutil.rmtree(base)


@pytest.fixture
def folder(whole: Path, registry_folder: Path) -> Path:
    return Path(shutil.copytree(whole, registry_folder))


def truncated(to: float) -> Damage:
    return lambda path: os.truncate(path, int(path.stat().st_size * to))


def overwritten(start: float, end: float, *, zeros: bool = False) -> Damage:
    """Bytes from one part of what the file holds to another become others, or zeros; its length stays."""

    def damage(path: Path) -> None:
        # The beginning, where everything is: the rest, up to its full length, is a hole.
        size = min(path.stat().st_size, 1024 * 1024)
        first, last = int(size * start), int(size * end)
        with open(path, "r+b") as file:
            file.seek(first)
            file.write(bytes(last - first) if zeros else random.Random(1).randbytes(last - first))

    return damage


def header_overwritten(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(random.Random(1).randbytes(8192))


def replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[str, Damage]] = {
    "page missing": ("page", Path.unlink),
    "page empty": ("page", truncated(0)),
    "page truncated": ("page", truncated(0.5)),
    "page garbage": ("page", overwritten(0, 1)),
    "page zeroed": ("page", overwritten(0, 1, zeros=True)),
    "page a directory": ("page", replaced_by_a_directory),
    "data missing": ("data.mdb", Path.unlink),
    "data empty": ("data.mdb", truncated(0)),
    "data truncated to half": ("data.mdb", truncated(0.5)),
    "data truncated to a tenth": ("data.mdb", truncated(0.1)),
    "data garbage": ("data.mdb", overwritten(0, 1)),
    "data zeroed": ("data.mdb", overwritten(0, 1, zeros=True)),
    "data header garbage": ("data.mdb", header_overwritten),
    "lock garbage": ("lock.mdb", overwritten(0, 1)),
    "lock missing": ("lock.mdb", Path.unlink),
    "lock empty": ("lock.mdb", truncated(0)),
}


def inflict(folder: Path, damage: str) -> None:
    name, how = DAMAGES[damage]
    (path,) = folder.rglob(name)
    how(path)


RIGHT: dict[str, tuple[object, ...]] = {
    "lookup before": (KNOWN, None),
    "lookup after": (KNOWN, None),
    "find before": ([KNOWN], []),
    "find after": ([KNOWN], []),
    "count before": (ENTRIES, 0),
    "count after": (ENTRIES, 0),
    "audit before": ([],),
    "audit after": ([],),
    "register": (True,),
    "look again": (True,),
    "update": ("y", "!not_registered"),
    "unregister": (True,),
    "look once more": (False,),
}


def wrong(told: Account) -> list[tuple[str, object]]:
    """What cannot be said of the registry as it was, nor of one made anew."""
    answers = told.answers.items()
    return [one for one in answers if one[1] != "!corrupt_registry" and one[1] not in RIGHT[one[0]]]


def check(told: Account, folder: Path) -> None:
    """Every answer is right, or it is an error that names the folder and says what to do."""
    assert wrong(told) == []
    for message in told.messages:
        assert f"remove the folder {folder}" in message


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_found_by_a_reader(damage: str, folder: Path, witness: Witness) -> None:
    """A process that only reads gets an error that names the damage, or reads the right entries."""
    inflict(folder, damage)
    check(witness.visit(folder, writes=False), folder)
    assert registrar_pid(folder) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_found_by_a_registrar(damage: str, folder: Path, witness: Witness) -> None:
    """A registrar that starts on damaged files says so to its callers, or makes a registry that works."""
    inflict(folder, damage)
    check(witness.visit(folder, writes=True), folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_under_a_running_registrar(damage: str, folder: Path, witness: Witness) -> None:
    """Files damaged while the registrar runs: a client gets an error or is served; acknowledged changes are seen."""
    start_registrar(folder, Launch(adsum.Limits()), time.monotonic() + 10)
    exchange(folder, register(1, "busy"), unregister(2, "busy"))
    inflict(folder, damage)
    if "missing" in damage:
        # A file that has lost its name is found out at the registrar's next turn, which takes a second.
        eventually(lambda: not wrong(witness.visit(folder, writes=True)), every=0.2)
    check(witness.visit(folder, writes=True), folder)


def test_a_board_full_of_ones_costs_no_change(registry: Registry, registry_folder: Path) -> None:
    """Another program writes the largest number into every change counter and member row of the board: changes go on,
    and reads are right. The lifelines between them are mutexes of living processes, which this test must not break."""
    registry.register("a", gauges={"load": 1}, heartbeat=1000)
    with (registry_folder / "board").open("r+b", buffering=0) as board:
        for first, end in ((BOARD_COUNTERS_AT, LIFELINES_AT), (ROWS_AT, ROWS_AT + ROW_WORDS)):
            board.seek(WORD_BYTES * first)
            board.write(b"\xff" * WORD_BYTES * (end - first))
    for number in range(3):
        registry.register(f"b{number}")
        registry.update("a", endpoint=str(number))
        assert registry["a"].metadata.endpoint == str(number)
        assert len(registry.find()) == number + 2
        registry.heartbeat("a")
    assert registry.audit() == []
