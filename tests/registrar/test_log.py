"""The file registrar.log has a line for what happened to members, and a bounded number of lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from adsum import AlreadyRegistered, NotRegistered, Registry
from adsum._registrar.log_lines import LINES_PER_SECOND
from tests.support import Agent, eventually


def lines(folder: Path, pattern: str) -> list[str]:
    """The lines of the log that match."""
    return [line for line in (folder / "registrar.log").read_text().splitlines() if re.search(pattern, line)]


def test_a_death_is_one_line(registry: Registry, registry_folder: Path) -> None:
    """The line names the process, one of its ids, and how many more there were."""
    with Agent(registry_folder) as agent:
        agent.do("registry.register_many([('a', {}), ('b', {}), ('c', {})])")
        name = registry["a"].process_id
        agent.kill()
        eventually(lambda: lines(registry_folder, rf"process {agent.pid} died: {name} and 2 more"))
    assert len(lines(registry_folder, "died")) == 1


def test_a_refusal_is_one_line(registry: Registry, registry_folder: Path) -> None:
    """The line has the reason, the request and the caller; an id with a line break stays on one line."""
    name = registry.register("a\nb").process_id
    with pytest.raises(AlreadyRegistered):
        registry.register("a\nb")
    with pytest.raises(NotRegistered):
        registry.update_health("none", "degraded")
    # The callers are answered first.
    eventually(lambda: len(lines(registry_folder, "refused")) == 2)
    first, second = lines(registry_folder, "refused")
    assert f"already_registered, register {str(name)[:-2]}\\nb by process {os.getpid()}" in first
    assert "not_registered, update " in second


def test_refusals_without_end(registry: Registry, registry_folder: Path) -> None:
    """A client that asks in a loop gets at most some lines a second, and the log says how many are missing."""
    registry.register("a")

    def ask() -> bool:
        for _ in range(10 * LINES_PER_SECOND):
            with pytest.raises(AlreadyRegistered):
                registry.register("a")
        return bool(lines(registry_folder, r"\d+ more lines like these"))

    eventually(ask, 30)
    seconds = {line.split(".")[0] for line in lines(registry_folder, "refused")}
    assert len(lines(registry_folder, "refused")) <= LINES_PER_SECOND * (len(seconds) + 1)
