"""A `psutil.Process` as the process to register."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

import adsum
from adsum import DeadProcess, Registry

from ..process.namespace import end, run_in_namespace, start_as, wait_a_tick

PID = 20_000

pytestmark = pytest.mark.real


def test_a_living_process(registry: Registry) -> None:
    """It is registered."""
    process = importlib.import_module("psutil").Process(os.getppid())
    assert registry.register("parent", process).entry.pid == os.getppid()


def _reuse(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    start_as(PID)
    process = importlib.import_module("psutil").Process(PID)
    registry.register("before", process).unregister()
    end(PID)
    wait_a_tick()
    start_as(PID)
    with pytest.raises(DeadProcess):
        registry.register("after", process)
    assert registry.register("number", PID).entry.pid == PID
    end(PID)


def test_a_reused_pid(registry_folder: Path) -> None:
    """One whose process has ended is refused, although its pid is in use again."""
    run_in_namespace(_reuse, registry_folder)
