"""Gauges between processes: never torn, never another member's, and kept whatever dies."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

import adsum
from adsum import Registry, RegistryFull
from adsum._engine.free_rows import RESTING_ROWS
from adsum._member_row import HEARTBEAT_WORDS, ROW_BITS, ROW_WORDS, row_of
from adsum._store.page_layout import BOARD_SIZE, MEMBER_ROWS, ROWS_AT, WORD_BYTES

from ..support import Agent, eventually, kill_registrar, remove_folder, stopped


def test_other_processes_read_and_set(registry: Registry, registry_folder: Path) -> None:
    """What one process sets, another reads at once, also while the registrar is stopped: no request is made."""
    registration = registry.register("w", gauges={"load": 0.5})
    with Agent(registry_folder) as agent:
        assert agent.value("registry['w'].gauges") == {"load": 0.5}
        with stopped(registry_folder):
            registration.gauges["load"] = 0.75
            assert agent.value("registry.gauge('w', 'load')") == 0.75
            agent.do("registry.set_gauge('w', 'load', 0.25)")
            assert registration.gauges["load"] == 0.25


def test_no_value_is_torn(registry: Registry, registry_folder: Path) -> None:
    """A reader finds values that were set, whole, while two processes set them as fast as they can."""
    # In their bits these two differ in every byte.
    values = [1.2345678901234567e-300, -9.87654321e250]
    registry.register("w", gauges={"load": values[0]})
    write = (
        "import threading, itertools\n"
        "def write():\n"
        f"    for value in itertools.cycle({values!r}):\n"
        "        registry.set_gauge('w', 'load', value)\n"
        "threading.Thread(target=write, daemon=True).start()"
    )
    with Agent(registry_folder) as one, Agent(registry_folder) as two:
        one.do(write)
        two.do(write)
        entry, seen = registry["w"], dict.fromkeys(values, 0)

        def look() -> bool:
            for _ in range(20_000):
                seen[entry.gauges["load"]] += 1
            return all(seen.values())

        eventually(look)


def test_gauges_outlive_the_registrar(registry: Registry, registry_folder: Path) -> None:
    """A registrar that is killed and started anew leaves the values, and gives no row twice."""
    registration = registry.register("a", gauges={"load": 0.5})
    registration.gauges["load"] = 0.75
    for number in range(3):
        kill_registrar(registry_folder)
        other = registry.register(f"b{number}", gauges={"load": number}, timeout=10)
        other.gauges["load"] = 10 + number
        assert registry.gauge("a", "load") == registration.gauges["load"] == 0.75
    places = [entry.row_place for entry in registry.values()]
    assert len(set(map(row_of, places))) == len(places)
    assert [entry.gauges["load"] for entry in registry.find(id_prefix="b")] == [10, 11, 12]


def test_a_registrar_that_makes_another_board(registry: Registry, registry_folder: Path) -> None:
    """Where the board was removed, the next registrar begins with the values of the registration, and they can be
    set."""
    registration = registry.register("a", gauges={"load": 0.5})
    registration.gauges["load"] = 0.75
    kill_registrar(registry_folder)
    (registry_folder / "board").unlink()
    registry.register("b", timeout=10)
    assert registry["a"].gauges == {"load": 0.5}
    registration.gauges["load"] = 0.25
    assert registry.gauge("a", "load") == 0.25
    with Agent(registry_folder) as agent:
        assert agent.value("registry['a'].gauges") == {"load": 0.25}


def test_a_lost_registry_is_made_anew_with_its_gauges(registry: Registry, registry_folder: Path) -> None:
    """When the folder goes, the member is registered anew with gauges that can be set."""
    registration = registry.register("a", gauges={"load": 0.5})
    registration.gauges["load"] = 0.75
    gauges, lost = registration.gauges, registration.entry
    remove_folder(registry_folder)
    eventually(lambda: registration.entry is not lost)
    assert set(registration.entry.gauges) == {"load"}
    gauges["load"] = 0.25
    eventually(lambda: "a" in registry)
    assert registry["a"].gauges == {"load": 0.25}


def test_a_row_is_given_again(registry: Registry, registry_folder: Path) -> None:
    """A member that dies leaves its row. The next holder of the row has its own values, and a reader of the dead one's
    entry never takes them for those of the dead."""
    with Agent(registry_folder) as agent:
        agent.do("one = registry.register('one', gauges={'load': 1}); one.gauges['load'] = 2")
        dead = registry["one"]
        assert dead.gauges == {"load": 2}
        agent.kill()
    eventually(lambda: "one" not in registry and registry.departures(1))
    rows = set()
    # The row that was freed comes after so many others.
    for number in range(RESTING_ROWS + 2):
        entry = registry.register("two", gauges={"load": number}, replace=True).entry
        rows.add(row_of(entry.row_place))
        if row_of(entry.row_place) == row_of(dead.row_place):
            break
    assert row_of(dead.row_place) in rows
    assert (registry["two"].gauges, dead.gauges) == ({"load": number}, {"load": 1})


def test_garbage_hurts_only_its_own_row(registry: Registry, registry_folder: Path) -> None:
    """A process that writes garbage into a row hides values of that member at most: nothing raises, no other member is
    touched, and no value appears that was not set. The member sets its gauges again. The seed is printed."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    victim = registry.register("victim", gauges={"a": 1, "b": 2})
    other = registry.register("other", gauges={"a": 3})
    at = WORD_BYTES * (ROWS_AT + ROW_WORDS * row_of(victim.entry.row_place))
    with (registry_folder / "board").open("r+b", buffering=0) as board:
        for _ in range(50):
            os.pwrite(board.fileno(), chance.randbytes(WORD_BYTES * ROW_WORDS), at)
            assert registry["victim"].gauges == {"a": 1, "b": 2}
            assert registry["other"].gauges == {"a": 3}
        # NaN with a key that fits.
        key = victim.entry.row_place ^ victim.entry.incarnation << ROW_BITS
        bits = struct.unpack("=Q", struct.pack("=d", float("nan")))[0]
        os.pwrite(board.fileno(), struct.pack("=QQ", bits, bits ^ key), at + WORD_BYTES * HEARTBEAT_WORDS)
    assert registry["victim"].gauges == {"a": 1, "b": 2}
    victim.gauges["a"] = 5
    other.gauges["a"] = 6
    assert (registry["victim"].gauges, registry["other"].gauges) == ({"a": 5, "b": 2}, {"a": 6})


def test_all_rows_are_taken(registry: Registry) -> None:
    """The registration for which there is no row is refused with the limit, and changes nothing; members without gauges
    go on. A row that is freed can be had again."""
    members = registry.register_many(
        [(f"m{number}", {"gauges": {"load": number}}) for number in range(MEMBER_ROWS)], timeout=60
    )
    with pytest.raises(RegistryFull, match=f"{MEMBER_ROWS} in all"):
        registry.register("late", gauges={"load": 1}, timeout=10)
    registry.register("plain", timeout=10)
    assert (len(registry), "late" in registry) == (MEMBER_ROWS + 1, False)
    assert [registry.gauge(f"m{number}", "load") for number in (0, MEMBER_ROWS - 1)] == [0, MEMBER_ROWS - 1]
    with pytest.raises(RegistryFull, match=f"{MEMBER_ROWS} in all"):
        registry.register("plain", gauges={"load": 1}, replace=True, timeout=10)
    # This one has a row: its own.
    again = registry.register("m5", gauges={"load": 55}, replace=True, timeout=10)
    again.gauges["load"] = 56
    assert registry["m5"].gauges == {"load": 56}
    with subprocess.Popen(["sleep", "60"]) as worker:
        registry.unregister("m6")
        registry.register("m6", worker, gauges={"load": 1}, timeout=10)
        standby = registry.stand_by("m6", gauges={"load": 66}, timeout=10)
        worker.kill()
    standby.result(timeout=10).gauges["load"] = 67
    assert registry.gauge("m6", "load") == 67
    members[7].unregister()
    registry.register("late", gauges={"load": 1}, timeout=10).gauges["load"] = 2
    assert registry.gauge("late", "load") == 2


def test_memory_is_taken_when_it_is_needed(registry: Registry, registry_folder: Path) -> None:
    """The file takes no memory for gauges before there are any, and then for a few rows."""
    registry.register("plain")
    board = registry_folder / "board"
    without = board.stat().st_blocks * 512
    assert without < WORD_BYTES * ROWS_AT + 8192 < BOARD_SIZE == board.stat().st_size
    registry.register("w", gauges={"load": 1})
    assert board.stat().st_blocks * 512 - without <= 8192


def test_a_forked_child_sets_the_gauges_of_its_parent(registry: Registry, registry_folder: Path) -> None:
    """The registration works in a forked child, as its other calls do."""
    with Agent(registry_folder) as agent:
        agent.do("import os; w = registry.register('w', gauges={'load': 1}); w.gauges['load'] = 2")
        agent.do("pid = os.fork()\nif not pid:\n    w.gauges['load'] = 3\n    os._exit(0)\nos.waitpid(pid, 0)")
        assert agent.value("w.gauges['load']") == registry.gauge("w", "load") == 3


def test_two_registries_in_one_process(registry_folder: Path) -> None:
    """Entries of the same row and incarnation in two registries have their own values."""
    with adsum.open(path=registry_folder / "x") as one, adsum.open(path=registry_folder / "y") as two:
        first, second = one.register("w", gauges={"load": 1}), two.register("w", gauges={"load": 2})
        assert row_of(first.entry.row_place) == row_of(second.entry.row_place)
        assert (one["w"].gauges, two["w"].gauges) == ({"load": 1}, {"load": 2})
        first.gauges["load"] = 3
        assert (first.entry.gauges, second.entry.gauges) == ({"load": 3}, {"load": 2})
