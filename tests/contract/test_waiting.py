"""Waiting for a member, or for a team to be complete."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Entry, InvalidProcessId, InvalidQuery, Registry, Timeout
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
    with pytest.raises(TypeError, match="an id or count="):
        either.wait_for("a", timeout=0, count=2)  # type: ignore[call-overload]
    for never in ({"type": "robot"}, {"namespace": "other"}, {"node": "other"}):
        with pytest.raises(InvalidQuery, match=next(iter(never))):
            either.wait_for("a", timeout=0, **never)  # type: ignore[call-overload]


def test_a_state_of_an_id_is_waited_for(opener: Opener, meanwhile: Any) -> None:
    """With an id and conditions, `wait_for` returns its entry once it matches all of them, and not before; another
    member that matches does not count."""
    waiting = opener()
    waiting.register_many([("w", {"health_status": "degraded"}), ("other", {"capabilities": {"x"}})])

    def change() -> None:
        eventually(lambda: len(waiting._client.watches) > 0)
        with adsum.open(path=waiting.folder, timeout=10) as other:
            other.update_health("w", "healthy")
            other.update("w", custom={"step": 1})
            other.update("w", merge=True, capabilities={"x"})

    meanwhile(change)
    entry = waiting.wait_for("w", health_status="healthy", capability="x", timeout=WITHIN)
    assert entry == waiting["w"]
    assert (entry.metadata.health_status, entry.metadata.custom) == ("healthy", {"step": 1})
    node = entry.process_id.node
    assert waiting.wait_for("w", timeout=0, type="agent", namespace="default", node=node) == entry


def test_a_state_that_does_not_come_is_a_timeout(either: Registry) -> None:
    """`Timeout` names the id and the conditions."""
    either.register("w")
    with pytest.raises(Timeout, match=r"/w with health_status='unhealthy' was not registered within 0\.01 s"):
        either.wait_for("w", health_status="unhealthy", timeout=0.01)
    with pytest.raises(Timeout):
        either.wait_for("w", where=lambda entry: False, timeout=0.01)


def test_an_id_with_conditions_can_be_watched(either: Registry) -> None:
    """A watch of an id with conditions reports when that entry starts and stops to match, and no other entry."""
    either.register("w", health_status="degraded")
    with either.watch("w", health_status="healthy") as watch:
        assert watch.snapshot == []
        either.register("other")
        matching = either.update_health("w", "healthy")
        changed = either.update_health("w", "unhealthy")
        events = [watch.next(WITHIN), watch.next(WITHIN)]
    assert [(event.kind, event.entry) for event in events] == [("registered", matching), ("unregistered", changed)]


def test_an_end_is_waited_for(opener: Opener, meanwhile: Any) -> None:
    """`wait_until_gone` returns when the process has died, and gives the entry; a zombie is gone."""
    waiting = opener()
    with Agent(waiting.folder) as agent:
        agent.do("registry.register('w')")
        entry = waiting["w"]

        def die() -> None:
            eventually(lambda: len(waiting._client.watches) > 0)
            # Not reaped before the wait is over.
            os.kill(agent.pid, signal.SIGKILL)

        meanwhile(die)
        assert waiting.wait_until_gone("w", timeout=WITHIN) == entry
        assert "w" not in waiting


@pytest.mark.parametrize("how", ["unregistered", "registered anew", "handed over"])
def test_a_later_holder_does_not_prolong_the_wait(opener: Opener, meanwhile: Any, how: str) -> None:
    """The wait is for the registration that held the id when it began: it ends with that, whether or not the id has
    another holder at the next moment."""
    waiting, ended = opener(), threading.Event()
    with Agent(waiting.folder) as agent, Agent(waiting.folder) as successor:
        agent.do("registration = registry.register('w')")
        entry = waiting["w"]
        does = {
            "unregistered": "registration.unregister()",
            "registered anew": "registry.register('w', replace=True)",
            "handed over": f"registration.hand_over({successor.pid})",
        }

        def end() -> None:
            eventually(lambda: len(waiting._client.watches) > 0)
            agent.do(does[how])
            ended.set()

        meanwhile(end)
        assert waiting.wait_until_gone("w", timeout=WITHIN) == entry
        assert ended.wait(WITHIN)
        assert ("w" in waiting) == (how != "unregistered")


def test_what_is_not_registered_is_gone_at_once(either: Registry) -> None:
    """An id that no living member holds is gone at once, before the registry is made, too; the result is None."""
    for _ in range(2):
        assert either.wait_until_gone("nobody", timeout=0) is None
        either.get_or_register("a")
    with pytest.raises(InvalidProcessId):
        either.wait_until_gone("a\0b", timeout=0)


def test_what_does_not_end_in_time_is_a_timeout(either: Registry) -> None:
    """`Timeout` says that the id was still registered."""
    either.register("w")
    with pytest.raises(Timeout, match=r"/w was still registered, it did not end within 0\.01 s"):
        either.wait_until_gone("w", timeout=0.01)


def test_an_end_is_seen_while_registrars_are_killed(opener: Opener, meanwhile: Any) -> None:
    """A wait for an end starts a registrar where it was killed, and that one finds the death."""
    waiting = opener()
    with Agent(waiting.folder) as agent:
        agent.do("registry.register('w')")

        def die() -> None:
            eventually(lambda: len(waiting._client.watches) > 0)
            kill_registrar(waiting.folder)
            # Not reaped before the wait is over.
            os.kill(agent.pid, signal.SIGKILL)

        meanwhile(die)
        gone = waiting.wait_until_gone("w", timeout=WITHIN)
        assert gone is not None
        assert gone.pid == agent.pid


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
