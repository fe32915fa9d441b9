"""An owner that dies while no registrar runs, or while one dies over it, is removed once by the next."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from ..support import WITHIN, eventually, kill_registrar, registrar_pid
from .failpoint import Failpoint
from .watched import private_bytes


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process to register."""
    with subprocess.Popen(["sleep", "1000"]) as started:
        yield started
        started.kill()


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def stored(registry: Registry) -> int:
    """The number of rows in the tables, of live and of dead owners."""
    return registry.stats().entries


def test_a_death_without_a_registrar_has_no_detection(
    registry: Registry, registry_folder: Path, process: subprocess.Popen[bytes]
) -> None:
    """The kernel reported such a death to no registrar, so no figure says how soon it was removed."""
    registry.register("a", process)
    kill_registrar(registry_folder)
    ended(process)
    registry.register("b")
    (departure,) = registry.departures()
    assert (departure.how, departure.detection, departure.time_known) == ("died", 0.0, False)
    eventually(lambda: registry.stats().outcomes)
    assert registry.stats().cleanup_latency.max == 0


def test_the_next_registrar_sweeps(registry: Registry, registry_folder: Path, process: subprocess.Popen[bytes]) -> None:
    """A process that dies while no registrar lives is not handed out meanwhile, and gone with the next request."""
    registry.register_many([(name, {"capabilities": {"work"}}) for name in "abc"], process)
    kill_registrar(registry_folder)
    ended(process)

    assert registry.find(capability="work") == []
    assert stored(registry) == 3

    registry.register("next")
    assert stored(registry) == 1
    assert [departure.how for departure in registry.departures()] == ["died"] * 3
    assert registry.audit() == []


@pytest.mark.parametrize("step", ["before_commit", "after_commit"])
def test_a_death_that_kills_the_registrar_is_cleaned_up_once(
    step: str,
    registry: Registry,
    registry_folder: Path,
    process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registrar that dies while it cleans up leaves all or nothing of it to the next."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    registry.register_many([(name, {}) for name in "abc"], process)
    before = registry.stats().revision
    failpoint.arm()
    ended(process)
    eventually(lambda: failpoint.reached)
    assert registry.find() == []
    assert stored(registry) == (3 if step == "before_commit" else 0)

    registry.register("next")
    assert registry.stats().revision == before + 4
    assert len(registry.departures()) == 3
    assert registry.audit() == []


def test_a_sweep_that_kills_the_registrar_is_made_by_the_next(
    registry: Registry, registry_folder: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar killed while sweeping leaves the dead to the one after it."""
    failpoint = Failpoint("sweeping", registry_folder, monkeypatch)
    registry.register("doomed", process)
    before = registry.stats().revision
    kill_registrar(registry_folder)
    ended(process)
    failpoint.arm()

    registry.register("next")
    assert failpoint.reached
    assert [entry.process_id.local_id for entry in registry.find()] == ["next"]
    assert registry.stats().revision == before + 2
    assert registry.audit() == []


@contextlib.contextmanager
def large_members(registry: Registry, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes, each with 50 entries of 8 kB; ended after the block."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(["sleep", "1000"])) for _ in range(number)]
        for process in processes:
            registry.register_many(
                [(f"{process.pid}-{n}", {"custom": {"x": os.urandom(4000).hex()}}) for n in range(50)], process
            )
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()


@pytest.mark.parametrize("die", [True, False])
def test_a_sweep_of_many_large_entries_takes_little_memory(
    die: bool, registry: Registry, registry_folder: Path
) -> None:
    """A new registrar takes up 16 MB of entries, or removes those of the dead, and has less than 30 MB itself."""
    with large_members(registry, 40) as processes:
        kill_registrar(registry_folder)
        if die:
            for process in processes:
                ended(process)
        registry.register("next")
        pid = registrar_pid(registry_folder)
        assert pid is not None
        assert private_bytes(pid) < 30_000_000
        assert stored(registry) == (1 if die else 2001)
        assert registry.audit() == []


def test_a_sweep_in_parts_is_finished_by_the_next_registrar(
    registry: Registry, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar killed after a part of its sweep leaves the rest to the next, and each death is removed once."""
    failpoint = Failpoint("after_commit", registry_folder, monkeypatch)
    with large_members(registry, 3) as processes:
        before = registry.stats().revision
        kill_registrar(registry_folder)
        for process in processes:
            ended(process)
        failpoint.arm()
        registry.register("next")
        assert failpoint.reached
        assert registry.stats().revision == before + 151
        assert sorted(Counter(one.entry.pid for one in registry.departures()).values()) == [50, 50, 50]
        assert stored(registry) == 1
        assert registry.audit() == []


def test_a_thread_keeps_its_entry_over_a_new_registrar(registry: Registry, registry_folder: Path) -> None:
    """The entry of a thread outlives the registrar, and ends with the thread under the next."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    try:
        entry = registry.register("thread", thread).entry
        kill_registrar(registry_folder)
        registry.register("next")
        assert registry["thread"] == entry
    finally:
        may_end.set()
        thread.join(WITHIN)
    eventually(lambda: registry.lookup("thread") is None)


def test_a_thread_that_ends_meanwhile_is_gone_with_the_next_registrar(
    registry: Registry, registry_folder: Path
) -> None:
    """A thread that ends while no registrar runs is unregistered without a call."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    try:
        registry.register("thread", thread)
        kill_registrar(registry_folder)
    finally:
        may_end.set()
        thread.join(WITHIN)
    eventually(lambda: registry.lookup("thread") is None)


def test_closing_without_a_registrar_ends_local_members(registry_folder: Path) -> None:
    """A registry closed while no registrar lives takes the entries of its threads with it, under the next one."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    try:
        with adsum.open(path=registry_folder, timeout=10) as closing:
            closing.register("thread", thread)
            kill_registrar(registry_folder)
        with adsum.open(path=registry_folder, timeout=10) as other:
            other.register("next")
            eventually(lambda: other.lookup("thread") is None)
    finally:
        may_end.set()
        thread.join(WITHIN)
