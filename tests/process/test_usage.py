"""`usage`: processor time and memory of the process of a member."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adsum import NotRegistered, Registry

from ..support import Agent, eventually

MEGABYTE = 1024 * 1024


def test_time_and_memory_grow(registry: Registry, registry_folder: Path) -> None:
    """The processor time of a member grows when it works, its memory when it allocates."""
    with Agent(registry_folder) as agent:
        agent.do("registry.register('w')")
        before = registry.usage("w")
        agent.do("kept = b'x' * (64 * 1024 * 1024)")
        agent.do("import time\nwhile time.process_time() < 0.5: pass")
        eventually(lambda: registry.usage("w").cpu_seconds >= 0.4)
        after = registry.usage("w")
        assert after.memory_bytes - before.memory_bytes > 48 * MEGABYTE
        assert 4 * MEGABYTE < before.memory_bytes < 1024 * MEGABYTE
        assert before.cpu_seconds < after.cpu_seconds < 60


def test_of_any_kind_of_process(either: Registry) -> None:
    """A process that did not register itself has a usage too; one that is dead has none."""
    with subprocess.Popen(["sleep", "60"]) as worker:
        either.register("w", worker)
        assert either.usage("w").memory_bytes > 0
        worker.kill()
        worker.wait()
        with pytest.raises(NotRegistered):
            either.usage("w")
    with pytest.raises(NotRegistered):
        either.usage("absent")
