"""A pid that is used again never refers to the process that had it before.

Every test runs twice: with the identity that new kernels provide (the inode of the pidfd), and with that of older
kernels (the start time).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import adsum
from adsum import DeadProcess, Registry
from adsum._os import identity

from ..support import eventually, kill_registrar, stopped
from .namespace import end, run_in_namespace, start_as, wait_a_tick

PID = 20_000
KINDS = ["inode", "start_time"]

pytestmark = pytest.mark.parametrize("kind", KINDS)


def opened(folder: str, kind: str) -> Registry:
    if kind == "start_time":
        identity.pidfds_have_inodes = lambda: False  # type: ignore[assignment]
        identity._identity_of_self.cache_clear()
    registry = adsum.open(path=folder, timeout=10)
    entry = registry.register("me").entry
    assert (entry.pidfd_inode == 0) == (kind == "start_time")
    return registry


def reuse() -> None:
    """End the process `PID`, and start another one with its pid."""
    end(PID)
    wait_a_tick()
    start_as(PID)


def _read_across(folder: str, kind: str) -> None:
    registry = opened(folder, kind)
    start_as(PID)
    registry.register("old", PID, capabilities={"c"})
    assert registry["old"].pid == PID
    with adsum.open(path=folder) as cold, stopped(Path(folder)):
        reuse()
        for reader in (registry, cold):
            assert reader.lookup("old") is None
            assert reader.find(capability="c") == []
            assert reader.count(capability="c") == 0
            assert len(reader) == 1


def test_readers_take_the_new_process_for_nobody(registry_folder: Path, kind: str) -> None:
    """A read, warm or cold, never shows the old entry because its pid is in use again, even without a registrar."""
    run_in_namespace(_read_across, registry_folder, kind)


def _clean_up_across(folder: str, kind: str) -> None:
    registry = opened(folder, kind)
    start_as(PID)
    old = registry.register("old", PID).entry
    with stopped(Path(folder)):
        reuse()
        future = registry.register_nowait("new", PID)
    new = future.result().entry
    assert (new.pid, new.owner != old.owner) == (PID, True)
    eventually(lambda: registry.stats().entries == 2)
    assert registry.lookup("old") is None
    assert registry["new"] == new
    end(PID)
    eventually(lambda: registry.stats().entries == 1)
    assert [departure.how for departure in registry.departures()] == ["died", "died"]


def test_the_registrar_tells_the_two_apart(registry_folder: Path, kind: str) -> None:
    """Cleanup after the old process leaves the new one's entry; the new one's death is detected separately."""
    run_in_namespace(_clean_up_across, registry_folder, kind)


def _register_across(folder: str, kind: str) -> None:
    registry = opened(folder, kind)
    start_as(PID)
    with stopped(Path(folder)):
        future = registry.register_nowait("old", PID)
        reuse()
    with pytest.raises(DeadProcess):
        future.result()
    assert registry.lookup("old") is None
    registry.register("new", PID)
    assert registry.stats().entries == 2


def test_a_number_reused_while_a_request_waits(registry_folder: Path, kind: str) -> None:
    """If a process dies before its registration is handled, the call fails; its pid's next process gets no entry."""
    run_in_namespace(_register_across, registry_folder, kind)


def _sweep_across(folder: str, kind: str) -> None:
    registry = opened(folder, kind)
    start_as(PID)
    registry.register("old", PID)
    kill_registrar(Path(folder))
    reuse()
    assert registry.lookup("old") is None
    assert registry.get_or_register("old")[1]
    assert registry["old"].pid == os.getpid()
    eventually(lambda: registry.stats().entries == 2)
    assert registry.audit() == []


def test_a_number_reused_while_no_registrar_ran(registry_folder: Path, kind: str) -> None:
    """A new registrar finds the old process dead although its pid is in use."""
    run_in_namespace(_sweep_across, registry_folder, kind)


def _many_times(folder: str, kind: str) -> None:
    registry = opened(folder, kind)
    seen = set()
    for number in range(15):
        start_as(PID)
        entry = registry.register("name", PID).entry
        seen.add(entry.owner)
        assert registry["name"] == entry
        end(PID)
        assert registry.lookup("name") is None, number
        wait_a_tick()
    assert len(seen) == 15


def test_a_number_used_again_and_again(registry_folder: Path, kind: str) -> None:
    """Fifteen processes in turn have one pid and one id, and no two of them the same identity."""
    run_in_namespace(_many_times, registry_folder, kind)
