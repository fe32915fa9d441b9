"""Cleanup that could not be committed: when the registrar tries again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adsum import RegistryFull
from adsum._engine.batch import Death
from adsum._os.log import Log
from adsum._registrar.postponed_cleanups import PostponedCleanups
from adsum._registrar.server import Server
from adsum.model import Owner

ATTEMPT_SECONDS = 0.1
DEATHS = 30


def test_many_deaths_are_one_attempt() -> None:
    """Where the cleanup of many deaths fails, the next attempt waits fifty times as long as all of them took, so that
    the registrar does not take more than a fiftieth of a processor."""
    now = 0.0

    def fail(_batch: object, _reply: object) -> None:
        nonlocal now
        now += ATTEMPT_SECONDS
        raise RegistryFull("no room")

    server: Any = Server.__new__(Server)
    tables: Any = SimpleNamespace(available_bytes=lambda: 0)
    server._clock = SimpleNamespace(monotonic=lambda: now, monotonic_ns=lambda: int(now * 1e9))
    server._log = Log(None)
    server._committer = SimpleNamespace(commit=fail, refuse=lambda calls, error: [], commits=0)
    server._generations = SimpleNamespace(current=tables, page_is_in_place=lambda: True)
    server._kernel = SimpleNamespace(unwatch=lambda owner: None)
    server._heartbeats = SimpleNamespace(retry=lambda late, at: None)
    server._clients = SimpleNamespace(reply=lambda answers: None)
    server._evicted = False
    server._bell = SimpleNamespace(is_herd=True)
    server._postponed = PostponedCleanups([Death(Owner(pid, 1, 0), 0) for pid in range(1, DEATHS + 1)])
    server._clean_up_postponed()
    took = DEATHS * ATTEMPT_SECONDS
    assert now == pytest.approx(took)
    assert not server._postponed.is_due(tables, now + 49 * took)
    assert server._postponed.is_due(tables, now + 51 * took)
    assert len(server._postponed.take()[0]) == DEATHS
