"""Amendments between this version and one that knows none, and is the same in everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import VersionMismatch, admin
from tests.support import Agent, kill_registrar

OldAgent = Callable[[], Agent]


@pytest.mark.parametrize(
    "how",
    [{"merge": True, "capabilities": {"y"}}, {"add": {"custom.done": 1}}, {"if_revision": 99, "custom": {}}],
    ids=["merge", "add", "if_revision"],
)
def test_an_older_registrar_refuses_them(
    how: dict[str, Any], agent_without_amendments: OldAgent, registry_folder: Path
) -> None:
    """A registrar that knows no amendments refuses one in words and changes nothing; it still serves every other
    request of this version, and once it is replaced the amendment succeeds."""
    old = agent_without_amendments()
    old.do("registry.register('a', custom={'done': 1}, capabilities={'x'})")
    with adsum.open(path=registry_folder, timeout=10) as registry:
        before = registry["a"]
        with pytest.raises(VersionMismatch, match=r"does not know the request 'amend'.*adsum registrar --replace"):
            registry.update("a", **how)
        assert registry["a"] == before
        assert registry.update("a", endpoint="x").revision == before.revision + 1
        admin.replace_registrar(registry_folder, timeout=20)
        after = registry.update("a", merge=True, capabilities={"y"}, add={"custom.done": 1}).metadata
        assert after.custom == {"done": 2}
        assert after.capabilities == {"x", "y"}
        assert old.value("registry['a'].metadata.custom") == {"done": 2}


def test_an_older_client_goes_on(agent_without_amendments: OldAgent, registry_folder: Path) -> None:
    """A client that knows no amendments updates through a registrar of this version, and reads what others amend."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("a", custom={"done": 1})
        old = agent_without_amendments()
        old.do("registry.update('a', endpoint='x')")
        registry.update("a", add={"custom.done": 1})
        assert old.value("registry['a'].metadata.custom") == {"done": 2}
        kill_registrar(registry_folder)
        old.do("registry.update('a', custom={'done': 3})")
        assert registry["a"].metadata.custom == {"done": 3}
