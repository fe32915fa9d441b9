"""Refusals in time: `Timeout` and `SystemBusy`, and the state of the registry afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Limits, Registry, SystemBusy, Timeout
from tests.support import Opener, eventually, eventually_awaited, stopped

WRITES: dict[str, Callable[[Registry, float | None], object]] = {
    "register": lambda registry, timeout: registry.register("late", timeout=timeout),
    "register_many": lambda registry, timeout: registry.register_many([("late", {}), ("later", {})], timeout=timeout),
    "get_or_register": lambda registry, timeout: registry.get_or_register("late", timeout=timeout),
    "update": lambda registry, timeout: registry.update("a", endpoint="late", timeout=timeout),
    "update_health": lambda registry, timeout: registry.update_health("a", "unhealthy", timeout=timeout),
    "unregister": lambda registry, timeout: registry.unregister("a", timeout=timeout),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_ends_within_its_timeout(either: Registry, write: str) -> None:
    """L1: a write to a registrar that does not answer raises `Timeout`, a `TimeoutError`, and is never applied."""
    before = either.register("a").entry
    with stopped(either.folder):
        with pytest.raises(Timeout, match="Try again") as caught:
            WRITES[write](either, 0.1)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.reason == "timeout"
        assert either.lookup("a") == before
    # A later request was answered, so the one that timed out has been decided.
    after = either.register("after").entry
    assert after.revision == before.revision + 1
    assert either["a"] == before
    assert either.lookup("late") is None


def test_the_message_says_how_to_know(registry: Registry) -> None:
    """The message of `Timeout` advises to check with `lookup` whether the request was applied, and to wait longer."""
    registry.register("a")
    with stopped(registry.folder), pytest.raises(Timeout, match=r"within 0\.1 s.*with lookup\(\).*longer timeout="):
        registry.register("b", timeout=0.1)


def test_a_registrar_that_does_not_answer(opener: Opener) -> None:
    """A client that connects for the first time to a stopped registrar gets an error in time."""
    opener().register("a")
    late = opener()
    with stopped(late.folder):
        assert late.lookup("a") is not None
        with pytest.raises(Timeout, match="Try again"):
            late.register("b", timeout=0.1)
    late.register("b")


def test_the_registrys_own_bound_is_the_default(opener: Opener) -> None:
    """A write without a timeout of its own uses the registry's `registration_timeout`, which its maker has set."""
    opener(limits=Limits(registration_timeout=0.15)).register("a")
    other = opener(timeout=None)
    eventually(lambda: _wrote(other))
    with stopped(other.folder), pytest.raises(Timeout, match=r"within 0\.15 s"):
        other.register("b")


def _wrote(registry: Registry) -> bool:
    try:
        registry.update("a")
    except Timeout:
        return False
    return True


def test_a_registrys_timeout_is_that_of_its_writes(opener: Opener) -> None:
    """`timeout` given at opening applies to every write that has none of its own."""
    registry = opener(timeout=10)
    registry.register("a")
    brief = opener(timeout=0.1)
    eventually(lambda: _wrote(brief))
    with stopped(registry.folder), pytest.raises(Timeout, match=r"within 0\.1 s"):
        brief.register("b")


def test_reads_do_not_wait_for_a_stopped_registrar(either: Registry) -> None:
    """L2: every read is answered while the registrar is stopped."""
    entry = either.register("a", capabilities={"x"}).entry
    with stopped(either.folder) as pid:
        assert either.lookup("a") == either["a"] == either.choose() == entry
        assert either.find(capability="x") == [entry]
        assert (len(either), either.audit(), either.departures()) == (1, [], [])
        assert either.stats().registrar_pid == pid


def test_many_at_once_time_out_together(registry: Registry) -> None:
    """L1: abandoned requests end within their timeout, however many there are; later requests succeed."""
    registry.register_nowait("first").result(10)
    with stopped(registry.folder):
        asked = [registry.register_nowait(f"a{n}", custom={"x": "y" * 5000}, timeout=0.2) for n in range(200)]
        for future in asked:
            assert isinstance(future.exception(8), Timeout)
    registry.register_nowait("after", timeout=10).result(10)
    assert [id.local_id for id in registry] == ["after", "first"]


def test_a_timeout_of_nothing(either: Registry) -> None:
    """A write with a timeout of 0 succeeds or raises `Timeout`; `lookup` afterwards agrees with the result."""
    either.register("a")
    for number in range(20):
        try:
            registered = bool(either.register(f"b{number}", timeout=0))
        except Timeout:
            registered = False
        either.update("a")
        assert (either.lookup(f"b{number}") is not None) >= registered


def settled(future: Any) -> BaseException | None:
    error: BaseException | None = future.exception(10)
    return error


def test_too_much_at_once_is_system_busy(registry_folder: Path) -> None:
    """L4: above `max_pending` requests are refused with `SystemBusy`; each is registered or refused, none is lost."""
    with adsum.open(path=registry_folder, timeout=10, limits=Limits(max_pending=4)) as registry:
        registry.register_nowait("first").result(10)
        with stopped(registry_folder):
            asked = {f"a{number}": registry.register_nowait(f"a{number}") for number in range(200)}
            eventually(lambda: not registry._client.pipeline._calls.has_unsent)
        errors = {id: settled(future) for id, future in asked.items()}
        refused = {id for id, error in errors.items() if error is not None}
        assert refused
        for id in refused:
            assert isinstance(errors[id], SystemBusy)
            assert "nothing was changed, try again later" in str(errors[id])
            assert registry.lookup(id) is None
        assert len(registry) == 1 + len(asked) - len(refused)
        registry.register("after")
        eventually(lambda: registry.stats().outcomes.get("system_busy") == len(refused))


async def test_too_much_at_once_is_system_busy_for_tasks(registry_folder: Path) -> None:
    """L4 holds for awaited writes."""
    async with adsum.open_async(path=registry_folder, timeout=10, limits=Limits(max_pending=4)) as registry:
        await registry.register("first")
        with stopped(registry_folder):
            asked = [registry.register_nowait(f"a{number}") for number in range(200)]
            await asyncio.sleep(0)
            await eventually_awaited(lambda: not registry._client.pipeline._calls.has_unsent)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert refused
        assert all(isinstance(error, SystemBusy) for error in refused)
        assert len(registry) == 1 + len(asked) - len(refused)


async def test_a_task_may_stop_waiting(registry: Registry) -> None:
    """A cancelled wait ends at once while the registrar is stopped, and leaves no entry."""
    async with adsum.open_async(path=registry.folder, timeout=10) as other:
        await other.register("first")
        with stopped(registry.folder):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.register("late"), 0.1)
            assert other.lookup("late") is None
        await other.register("after")
        # The client undoes the registration in flight as soon as the registrar acknowledges it.
        await eventually_awaited(lambda: other.lookup("late") is None)
