"""Waiting for a member, or for a team to be complete."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Entry, InvalidProcessId, Registry, Timeout
from tests.support import WITHIN, Agent, Opener, eventually, eventually_awaited, kill_registrar, stopped


class Looked:
    """A condition that every entry meets, with an event that is set at its first call."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, _entry: Entry) -> bool:
        self.event.set()
        return True


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Starts threads, and joins them at the end; an error in one of them fails the test."""
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []

    def start(does: Callable[[], object]) -> None:
        def run() -> None:
            try:
                does()
            except BaseException as error:  # noqa: BLE001 - the fixture fails with it
                errors.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(WITHIN)
        assert not thread.is_alive()
    assert not errors, errors


def test_a_member_that_is_registered_is_returned_at_once(either: Registry) -> None:
    """An id that is registered, or a team that is complete, is returned at once, however short the timeout."""
    a, b = (registration.entry for registration in either.register_many([("a", {}), ("b", {"type": "service"})]))
    assert either.wait_for("a", timeout=0) == a
    assert either.wait_for(("default", either.node, "b"), 0) == b
    assert either.wait_for(timeout=0) == [a, b]
    assert either.wait_for(count=2, timeout=0) == [a, b]
    assert either.wait_for(type="service", timeout=0) == [b]
    assert either.wait_for(count=1, where=lambda entry: entry == a, timeout=0) == [a]


def test_a_count_of_zero_is_always_reached(either: Registry) -> None:
    """`count=0` is reached by any number of members, and by none."""
    assert either.wait_for(count=0, timeout=0) == []
    a = either.register("a").entry
    assert either.wait_for(count=0, timeout=0) == [a]


def test_an_id_is_waited_for(opener: Opener, meanwhile: Any) -> None:
    """`wait_for(id)` returns the entry when the id is registered; other names do not count."""
    waiting, other = opener(), adsum.open(path=opener().folder, timeout=10)

    def register() -> None:
        for number in range(20):
            other.register(f"other-{number}")
        other.register("late", endpoint="x")

    with other:
        meanwhile(register)
        entry = waiting.wait_for("late", timeout=WITHIN)
        assert entry == other["late"]
        assert entry.metadata.endpoint == "x"


def test_a_team_is_waited_for_until_it_is_complete(opener: Opener, meanwhile: Any) -> None:
    """`count` matching members must be registered at the same time; those that come and go do not add up."""
    waiting, other = opener(), adsum.open(path=opener().folder, timeout=10)
    looked = Looked()

    def come_and_go() -> None:
        assert looked.event.wait(WITHIN)
        for number in range(10):
            with other.register(f"passing-{number}", capabilities={"x"}):
                pass
        other.register("elsewhere", capabilities={"y"})
        for name in "bc":
            other.register(name, capabilities={"x"})

    with other:
        other.register("a", capabilities={"x"})
        meanwhile(come_and_go)
        team = waiting.wait_for(capability="x", count=3, where=looked, timeout=WITHIN)
        assert [entry.process_id.local_id for entry in team] == ["a", "b", "c"]


def test_an_update_can_complete_a_team(opener: Opener, meanwhile: Any) -> None:
    """A member that starts to match through an update counts from then on."""
    waiting, other = opener(), adsum.open(path=opener().folder, timeout=10)
    with other:
        other.register("a", health_status="unhealthy")
        meanwhile(lambda: other.update_health("a", "healthy"))
        assert waiting.wait_for(health_status="healthy", timeout=WITHIN) == [other["a"]]


def test_the_dead_are_not_waited_for_successfully(either: Registry) -> None:
    """S2: a dead member does not make a team complete, although it is still in the tables."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('dead')")
        alive = either.register("alive").entry
        with stopped(either.folder):
            agent.kill_unreaped()
            with pytest.raises(Timeout):
                either.wait_for("dead", timeout=0.01)
            with pytest.raises(Timeout):
                either.wait_for(count=2, timeout=0.01)
            assert either.wait_for(timeout=0) == [alive]


def test_no_member_in_time_is_a_timeout(either: Registry) -> None:
    """`Timeout` names the members and the seconds; it is a `TimeoutError`."""
    either.register("a")
    with pytest.raises(Timeout, match=r"nobody was not registered within 0\.01 s"):
        either.wait_for("nobody", timeout=0.01)
    with pytest.raises(TimeoutError, match=r"3 members with capability='x' were not registered within 0\.01 s"):
        either.wait_for(capability="x", count=3, timeout=0.01)
    with pytest.raises(Timeout):
        either.wait_for("nobody", timeout=-1)


def test_a_registry_that_does_not_exist_yet_can_be_waited_for(opener: Opener, meanwhile: Any) -> None:
    """A wait may begin before the first registration, and before the folder exists."""
    waiting = opener()
    with adsum.open(path=waiting.folder, timeout=10) as other:
        meanwhile(lambda: other.register("first"))
        assert waiting.wait_for("first", timeout=WITHIN).process_id.local_id == "first"


def test_a_wait_outlives_the_registrar(opener: Opener, meanwhile: Any) -> None:
    """A wait does not notice that registrars are killed."""
    waiting, looked = opener(), Looked()

    def trouble() -> None:
        assert looked.event.wait(WITHIN)
        with adsum.open(path=waiting.folder, timeout=10) as other:
            for number in range(3):
                kill_registrar(waiting.folder)
                other.register(f"b{number}")

    waiting.register("a")
    meanwhile(trouble)
    assert len(waiting.wait_for(count=4, where=looked, timeout=3 * WITHIN)) == 4


@pytest.mark.parametrize("timeout", [math.nan, True, "1", b"", []])
def test_an_impossible_timeout_is_refused(either: Registry, timeout: Any) -> None:
    """A timeout is a number of seconds, or None."""
    either.register("a")
    with pytest.raises(ValueError, match="timeout="):
        either.wait_for("a", timeout=timeout)


def test_a_condition_that_cannot_be_called_is_refused(either: Registry) -> None:
    """`where` is a function; every call that takes it refuses anything else, and names the argument."""
    where: Any = 1
    for call in (either.watch, either.wait_for, either.find, either.count, either.choose):
        with pytest.raises(TypeError, match="where=1"):
            call(where=where)


@pytest.mark.parametrize("count", [-1, True, 1.0, "1", None])
def test_an_impossible_count_is_refused(either: Registry, count: Any) -> None:
    """`count` is a whole number, 0 or more."""
    with pytest.raises(ValueError, match="count="):
        either.wait_for(count=count, timeout=0)


def test_impossible_conditions_are_refused(either: Registry) -> None:
    """An impossible id or condition is refused at once, whether matching members exist or not."""
    either.register("a")
    with pytest.raises(InvalidProcessId):
        either.wait_for("a\0b", timeout=0)
    with pytest.raises(ValueError, match="robot"):
        either.wait_for(type="robot", timeout=0)
    with pytest.raises(TypeError, match="colour"):
        either.wait_for(colour="red", timeout=0)  # type: ignore[call-overload]
    for also in ({"capability": "x"}, {"count": 2}, {"where": lambda entry: False}):
        with pytest.raises(TypeError, match="an id or"):
            either.wait_for("a", timeout=0, **also)


def test_a_condition_that_raises_ends_the_wait(either: Registry) -> None:
    """An error that `where` raises comes to the caller, and leaves nothing open."""
    either.register("a")
    with pytest.raises(ZeroDivisionError):
        either.wait_for(where=lambda entry: 1 // 0, timeout=WITHIN)


def test_a_timeout_of_the_callers_own_passes(opener: Opener, meanwhile: Any) -> None:
    """A `TimeoutError` that the caller's code raises in the middle of a wait is not taken for the wait's own."""
    waiting, other = opener(), adsum.open(path=opener().folder, timeout=10)
    mine, looked = TimeoutError("mine"), threading.Event()

    def where(entry: Entry) -> bool:
        looked.set()
        if entry.process_id.local_id == "a":
            raise mine
        return False

    with other:
        other.register("b")
        meanwhile(lambda: looked.wait(WITHIN) and other.register("a"))
        with pytest.raises(TimeoutError) as caught:
            waiting.wait_for(where=where, timeout=WITHIN)
    assert caught.value is mine


async def test_a_wait_can_be_cancelled(registry_folder: Path) -> None:
    """A task that is cancelled in `wait_for` leaves nothing open; a timeout of the caller's own is not a `Timeout`."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        await registry.register("a")
        task = asyncio.create_task(registry.wait_for("nobody"))
        await eventually_awaited(lambda: any(watch._waiter.is_connected for watch in registry._client.watches))  # type: ignore[attr-defined]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await registry.wait_for("nobody", timeout=WITHIN)
        assert not isinstance(caught.value, Timeout)


def test_many_wait_at_once(registry: Registry, meanwhile: Any) -> None:
    """Threads that wait for different members each get theirs."""
    for number in range(8):
        meanwhile(lambda number=number: registry.wait_for(f"a{number}", timeout=WITHIN))
    eventually(lambda: len(registry._client.watches) > 0)
    for number in range(8):
        registry.register(f"a{number}")
