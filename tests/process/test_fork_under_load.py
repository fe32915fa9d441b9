"""Forks during heavy reading and writing."""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from ..support import Child, liveness_of
from .people import in_fork, sleepers

FORKS = 40
MEMBERS = 24
# A fork waits only for the reads in flight; even a hundred of them take far less than this.
FORK_SECONDS = 3.0


def _forks_under_load(folder: str, capacity: str) -> None:
    """Print a line for each fork: the error in the child, or how long the fork took."""
    registry = adsum.open(path=folder, timeout=10)
    # Fewer descriptors than owners: every read then also opens and closes descriptors.
    liveness_of(registry).capacity = int(capacity)
    over = threading.Event()
    failed: list[str] = []
    with sleepers(MEMBERS) as processes:
        for number, process in enumerate(processes):
            registry.register(f"m{number}", process, capabilities={"member"})
        for work in (_look_up, _look_up, _find, _find, _find, _update, _register_threads):
            threading.Thread(target=_until_over, args=(work, registry, over, failed), daemon=True).start()
        for number in range(FORKS):
            started = time.monotonic()
            took = in_fork(lambda started=started, number=number: _child(registry, started, number), within=20)  # type: ignore[misc]
            if failed:
                break
            print(f"{took:.3f}")
        over.set()
        # Counted before the members die, because a `find` that is still running would then fail.
        failures = len(failed)
        # Threads may still be reading, so this process exits at once; no process may remain.
        for process in processes:
            process.kill()
        os._exit(failures)


def _child(registry: Registry, started: float, number: int) -> float:
    forked = time.monotonic()
    assert len(registry.find(capability="member")) == MEMBERS
    assert registry["m3"].process_id.local_id == "m3"
    assert registry.register(f"child-{number}").entry.pid == os.getpid()
    return forked - started


def _until_over(work: Callable[[Registry], None], registry: Registry, over: threading.Event, failed: list[str]) -> None:
    try:
        while not over.is_set():
            work(registry)
    except BaseException:  # noqa: BLE001 - the main thread reports any error and ends
        traceback.print_exc()
        failed.append(work.__name__)


def _look_up(registry: Registry) -> None:
    for number in range(MEMBERS):
        assert registry.lookup(f"m{number}") is not None


def _find(registry: Registry) -> None:
    assert len(registry.find(capability="member")) == MEMBERS


def _update(registry: Registry) -> None:
    registry.update(f"m{random.randrange(MEMBERS)}", custom={"number": random.random()})


def _register_threads(registry: Registry) -> None:
    with registry.register("thread", threading.current_thread()):
        registry.register_nowait("mine").result()
        registry.unregister("mine")


@pytest.mark.parametrize("capacity", [1024, 8], ids=["descriptors plenty", "descriptors few"])
def test_forks_in_the_middle_of_everything(registry_folder: Path, capacity: int) -> None:
    """While seven threads read and write, a fork completes soon, its child works, and the parent's threads continue."""
    with Child(_forks_under_load, registry_folder, capacity) as parent:
        took = [float(parent.line(30)) for _ in range(FORKS)]
        assert parent.wait() == 0
    assert max(took) < FORK_SECONDS
