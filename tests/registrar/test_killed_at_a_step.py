"""A registrar killed in the middle of a call: the caller gets its answer, and what it asked for happens once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import adsum
from adsum import AlreadyRegistered, NotRegistered, Registry, Stale

from ..support import eventually, registrar_pid
from .failpoint import Failpoint

Opener = Callable[..., Registry]


class Call(NamedTuple):
    """What is asked of a registry where "held" is registered, what must come of it, and by how many revisions."""

    ask: Callable[[Any], Any]
    answer: object
    revisions: int


def _or_error(ask: Callable[[Any], Any], kind: type[Exception]) -> Callable[[Any], Any]:
    def asked(registry: Any) -> Any:
        with pytest.raises(kind) as raised:
            ask(registry)
        return type(raised.value)

    return asked


CALLS = {
    "register": Call(lambda r: r.register("new").process_id.local_id, "new", 1),
    "register_many": Call(
        lambda r: [one.process_id.local_id for one in r.register_many([("a", {}), ("b", {}), ("c", {})])],
        ["a", "b", "c"],
        3,
    ),
    "get_or_register": Call(lambda r: r.get_or_register("new")[1], True, 1),
    "update": Call(lambda r: r.update("held", endpoint="x").metadata.endpoint, "x", 1),
    "merge": Call(lambda r: r.update("held", merge=True, capabilities={"x"}).metadata.capabilities, {"x"}, 1),
    "add": Call(lambda r: r.update("held", add={"custom.n": 1}).metadata.custom, {"n": 1}, 1),
    "compare and swap": Call(
        lambda r: r.update("held", if_revision=r["held"].revision, endpoint="x").metadata.endpoint, "x", 1
    ),
    "compare in vain": Call(_or_error(lambda r: r.update("held", if_revision=10**9), Stale), Stale, 0),
    "update_health": Call(lambda r: r.update_health("held", "degraded").metadata.health_status, "degraded", 1),
    "unregister": Call(lambda r: r.unregister("held"), True, 1),
    "claim": Call(lambda r: [one.pid for one in r.claim("held").entry.claims], [os.getpid()], 1),
    "claim and release": Call(lambda r: r.claim("held").release(), True, 2),
    "get what is held": Call(lambda r: r.get_or_register("held")[1], False, 0),
    "register what is held": Call(_or_error(lambda r: r.register("held"), AlreadyRegistered), AlreadyRegistered, 0),
    "update by another incarnation": Call(_or_error(lambda r: r.update("held", if_incarnation=10**9), Stale), Stale, 0),
    "update what is absent": Call(_or_error(lambda r: r.update("absent"), NotRegistered), NotRegistered, 0),
    "unregister what is absent": Call(lambda r: r.unregister("absent"), False, 0),
}
STEPS = ("before_commit", "after_commit", "replying")
# A call that changes nothing never comes to a commit.
CASES = [(step, call) for step in STEPS for call in CALLS if CALLS[call].revisions or step != "before_commit"]


@pytest.mark.parametrize(("step", "call"), CASES)
def test_a_call_is_answered_and_happens_once(
    step: str, call: str, opener: Opener, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked of a registrar that dies over it is answered as if it had lived, and is done exactly once."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    registry = opener()
    registry.register("held")
    before = registry.stats().revision

    failpoint.arm()
    answer = CALLS[call].ask(registry)

    assert answer == CALLS[call].answer
    eventually(lambda: failpoint.reached)
    assert registry.stats().revision - before == CALLS[call].revisions
    registry.register("next")
    assert registry.stats().revision - before == CALLS[call].revisions + 1
    assert registry.audit() == []


@pytest.mark.parametrize("step", STEPS)
def test_a_hand_over_happens_once(
    step: str, registry: Registry, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that is handed over while the registrar dies has one new owner and one new incarnation."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    held = registry.register("held")

    failpoint.arm()
    entry = held.hand_over(os.getppid())

    eventually(lambda: failpoint.reached)
    assert registry["held"] == entry
    assert (entry.pid, entry.incarnation) == (os.getppid(), held.entry.incarnation + 1)
    assert registry.audit() == []


@pytest.mark.parametrize("step", STEPS)
def test_calls_under_way_at_once_happen_once(
    step: str, registry: Registry, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hundreds of registrations under way when the registrar dies, each succeeds, and none happens twice."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    registry.register("held")
    before = registry.stats().revision

    def asked(first: int) -> list[Future[adsum.Registration]]:
        return [registry.register_nowait(f"{number}", custom={"x": "y" * 300}) for number in range(first, first + 600)]

    futures = asked(0)
    # In the middle of things: some are answered, some committed, some not yet sent.
    eventually(futures[20].done, every=0)
    failpoint.arm()
    futures += asked(600)

    names = [future.result(30).process_id.local_id for future in futures]
    eventually(lambda: failpoint.reached)
    assert names == [str(number) for number in range(1200)]
    assert registry.stats().revision - before == 1200
    assert registry.audit() == []


@pytest.mark.parametrize("step", STEPS)
async def test_awaited_calls_under_way_at_once_happen_once(
    step: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many awaited updates under way when the registrar dies, each counts once."""
    failpoint = Failpoint(step, registry_folder, monkeypatch)
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        await registry.register("held")
        before = registry.stats().revision
        updates = [asyncio.create_task(registry.update("held", endpoint=f"{number}")) for number in range(600)]
        failpoint.arm()
        entries = await asyncio.gather(*updates)

        eventually(lambda: failpoint.reached)
        assert sorted(entry.revision for entry in entries) == list(range(before + 1, before + 601))
        assert registry.stats().revision == before + 600


def test_a_call_survives_a_registrar_killed_while_starting(
    registry: Registry, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar killed while it starts costs its caller only the time to start another."""
    failpoint = Failpoint("starting", registry_folder, monkeypatch)
    failpoint.arm()

    registry.register("first")

    assert failpoint.reached
    assert registry["first"].pid == os.getpid()
    assert registry.stats().registrar_pid == registrar_pid(registry_folder)
