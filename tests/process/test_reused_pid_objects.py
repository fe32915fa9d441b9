"""An object whose process has ended never registers the process that has its pid now."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import adsum
from adsum import DeadProcess

from ..support import eventually
from .namespace import end, run_in_namespace, start_as

PID = 20_000
_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def start_stranger(pid: int) -> int:
    """Start a process with this pid that is no child of this one. Returns its parent, which is."""
    parent = os.fork()
    if not parent:
        start_as(pid)
        time.sleep(600)
    eventually(lambda: Path(f"/proc/{pid}").exists())
    return parent


def vanish(pid: int) -> None:
    """Kill a child so that the kernel reaps it, as where a program ignores SIGCHLD."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    signal.signal(signal.SIGCHLD, before)


def _popen(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    _LAST_PID.write_text(str(PID - 1))
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid == PID
        registry.register("before", process).unregister()
        vanish(PID)
        parent = start_stranger(PID)
        with pytest.raises(DeadProcess, match=str(PID)):
            registry.register("after", process)
        assert registry.register("number", PID).entry.pid == PID
        os.kill(PID, signal.SIGKILL)
        end(parent)


def test_popen(registry_folder: Path) -> None:
    """A `Popen` whose child is gone is refused, also where its status was never collected; the number is not."""
    run_in_namespace(_popen, registry_folder)


def _process(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    _LAST_PID.write_text(str(PID - 1))
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    assert process.pid == PID
    registry.register("before", process).unregister()
    vanish(PID)
    start_as(PID)
    with pytest.raises(DeadProcess):
        registry.register("after", process)
    assert registry.register("number", PID).entry.pid == PID
    end(PID)


def test_multiprocessing(registry_folder: Path) -> None:
    """So is a `multiprocessing.Process`, even where the process that has its pid is another child."""
    run_in_namespace(_process, registry_folder)
