"""A registrar killed at a step of a claim or a release: each happens once, and no slot is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import adsum
from adsum import Registry, Timeout
from adsum._registrar.failpoints import STEPS
from tests.process.test_claims import wait_for_slot
from tests.support import Agent, eventually

from .failpoint import Failpoint

COMMITS = ("before_commit", "after_commit", "replying")


@pytest.mark.parametrize("step", COMMITS)
def test_a_release_happens_once(step: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release is answered as if the registrar had lived, and the slot goes to the one that waited for it."""
    assert set(COMMITS) <= set(STEPS)
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    with adsum.open(path=registry_folder, timeout=10) as registry, Agent(registry_folder) as waiting:
        registry.register("w")
        claim = registry.claim("w")
        wait_for_slot(waiting)
        failpoint.arm()
        assert claim.release() is True
        eventually(lambda: failpoint.reached)
        assert waiting.value("waiting.result(9).entry.claims[0].pid") == waiting.pid
        assert [record.pid for record in registry["w"].claims] == [waiting.pid]
        waiting.do("waiting.result().release()")
        assert registry["w"].claims == ()


@pytest.mark.parametrize("step", COMMITS)
def test_a_death_is_not_forgotten(step: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registrar that dies over the death of a claimer leaves it to the next one, which frees the slot."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    with adsum.open(path=registry_folder, timeout=10) as registry, Agent(registry_folder) as waiting:
        registry.register("w")
        with Agent(registry_folder) as claimer:
            claimer.do("claim = registry.claim('w')")
            wait_for_slot(waiting)
            failpoint.arm()
            claimer.kill()
        assert waiting.value("waiting.result(9).entry.claims[0].pid") == waiting.pid
        eventually(lambda: failpoint.reached)
        assert [record.pid for record in registry["w"].claims] == [waiting.pid]


@pytest.mark.parametrize("step", COMMITS)
def test_a_claim_in_vain_leaves_nothing(step: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose time passes while the registrar dies over it holds nothing, and waits no more."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    with adsum.open(path=registry_folder, timeout=10) as registry, Agent(registry_folder) as other:
        registry.register("w")
        claim = registry.claim("w")
        failpoint.arm()
        other.do("from concurrent.futures import ThreadPoolExecutor")
        other.do("waiting = ThreadPoolExecutor().submit(lambda: registry.claim('w', timeout=0.2))")
        _change_until(failpoint, registry)
        with pytest.raises(Timeout):
            other.do("waiting.result(9)")
        claim.release()
        eventually(lambda: registry["w"].claims == ())
        registry.claim("w", timeout=0).release()


def _change_until(failpoint: Failpoint, registry: Registry) -> None:
    for number in range(1000):
        if failpoint.reached:
            return
        registry.update("w", endpoint=str(number))
    raise AssertionError("the registrar never came to the step")
