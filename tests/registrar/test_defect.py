"""A defect of adsum in the registrar: it costs the request that meets it, which is refused as an `InternalError`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import InternalError, Limits
from adsum import _wire as wire
from adsum._registrar.start import serve

from ..support import eventually
from .by_hand import exchange, register, unregister

# Of the commits of a registrar, by number: the first, in which the batch is committed together, and the one in which
# the second of its requests is committed alone.
TOGETHER, SECOND_ALONE = 1, 3


def defect_at(numbers: set[int]) -> Callable[[str], None]:
    """A failpoint that raises in these commits what no code expects."""
    seen = 0

    def failpoint(step: str) -> None:
        nonlocal seen
        if step == "before_commit":
            seen += 1
            if seen in numbers:
                raise ArithmeticError("an injected defect")

    return failpoint


@pytest.fixture
def flawed_at(registry_folder: Path) -> Iterator[Callable[..., None]]:
    """Starts a registrar of the test's folder, a fork of this process, with defects in these commits."""
    started: list[int] = []

    def start(*numbers: int) -> None:
        registry_folder.mkdir(mode=0o700)
        pid = os.fork()
        if not pid:
            try:
                serve(registry_folder, Limits(), ready=lambda: None, failpoint=defect_at(set(numbers)))
            finally:
                os._exit(0)
        started.append(pid)
        eventually((registry_folder / "socket").exists)

    yield start
    for pid in started:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_defect_costs_its_sender_alone(flawed_at: Callable[..., None], registry_folder: Path) -> None:
    """Three requests make a batch that the registrar fails on. The one that it fails on again is refused, and says what
    it was, that nothing changed, and how to report it; the others are carried out."""
    flawed_at(TOGETHER, SECOND_ALONE)
    first, second, third = exchange(registry_folder, register(1, "a"), register(2, "b"), register(3, "c"))
    assert [type(reply) for reply in (first, second, third)] == [wire.Done, wire.Failed, wire.Done]
    assert isinstance(second, wire.Failed)
    error = wire.error_from(second)
    assert isinstance(error, InternalError)
    assert error.reason == "internal_error"
    for said in ("register default/by-hand/b", "an injected defect", "nothing was changed", "registrar.log"):
        assert said in str(error)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert [entry.process_id.local_id for entry in registry.find()] == ["a", "c"]
        eventually(lambda: registry.stats().outcomes.get("internal_error") == 1)
        assert registry.audit() == []
    assert "an injected defect" in (registry_folder / "registrar.log").read_text()


def test_a_request_that_met_a_defect_can_be_repeated(flawed_at: Callable[..., None], registry_folder: Path) -> None:
    """A lone request is refused as well, and nothing is left of it."""
    flawed_at(TOGETHER)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        with pytest.raises(InternalError, match="defect of adsum"):
            registry.register("a", capabilities={"x"})
        assert registry.lookup("a") is None
        registry.register("a")
        assert registry.find(capability="x") == []
        assert registry.audit() == []
    assert [type(reply) for reply in exchange(registry_folder, unregister(1, "a"))] == [wire.Done]
