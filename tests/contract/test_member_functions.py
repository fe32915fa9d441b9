"""`member`: functions that are members while they run."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AlreadyRegistered, AsyncRegistry, InvalidMetadata, InvalidProcessId, Registry
from tests.support import eventually_awaited


def test_a_call_is_a_member_while_it_runs(registry: Registry) -> None:
    """This process holds the id, with the metadata, from the beginning of the call to its end, each time anew."""

    @registry.member("a", capabilities={"plan"}, endpoint="x:1")
    def plan(number: int, *, factor: int = 2) -> tuple[int, adsum.Entry]:
        """Plan."""
        return number * factor, registry["a"]

    assert "a" not in registry
    first, second = plan(3)[1], plan(4, factor=5)
    assert (first.pid, sorted(first.metadata.capabilities), first.endpoint) == (os.getpid(), ["plan"], "x:1")
    assert second[0] == 20
    assert second[1].incarnation > first.incarnation
    assert "a" not in registry
    assert (plan.__name__, plan.__doc__) == ("plan", "Plan.")


def test_an_error_ends_it_too(registry: Registry) -> None:
    """An error of the function comes out unchanged, and the entry is gone; so is one of a nested call."""

    @registry.member("a")
    def fail() -> None:
        assert "a" in registry
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "a" not in registry


def test_two_calls_at_once_need_two_ids(registry: Registry) -> None:
    """While a call runs, another under the same id is refused and its function is not called; a function of the
    arguments gives each call an id of its own."""
    calls: list[int] = []

    @registry.member(lambda number, *_: f"worker-{number}")
    def work(number: int, then: Callable[[], object] = list) -> None:
        calls.append(number)
        then()

    with pytest.raises(AlreadyRegistered):
        work(1, lambda: work(2, lambda: work(1)))
    assert calls == [1, 2]
    assert len(registry) == 0


def test_errors_of_the_registration_come_instead_of_the_call(registry: Registry) -> None:
    """Where the id or the metadata is impossible, the function is not called."""
    for decorator, error in (
        (registry.member(""), InvalidProcessId),
        (registry.member("a", type="pilot"), InvalidMetadata),
        (registry.member(lambda: 7), InvalidProcessId),  # type: ignore[arg-type,return-value]
    ):
        with pytest.raises(error):
            decorator(pytest.fail)()


def test_a_later_holder_stays(registry: Registry) -> None:
    """Where the entry was removed meanwhile, and the id has another holder, that one stays."""

    @registry.member("a")
    def work() -> int:
        registry.unregister("a")
        return registry.register("a").entry.incarnation

    assert work() == registry["a"].incarnation


def test_the_result_counts_more_than_the_removal(registry_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the entry cannot be removed, the log says so, and the call returns its result."""
    registry = adsum.open(path=registry_folder)

    @registry.member("a")
    def work() -> int:
        registry.close()
        return 7

    with caplog.at_level(logging.ERROR, "adsum"):
        assert work() == 7
    assert "/a stays registered until its process ends" in caplog.text


def test_threads_may_run_it(registry: Registry) -> None:
    """Calls in several threads are members at the same time."""
    barrier = threading.Barrier(3)
    seen: list[int] = []

    @registry.member(lambda number: str(number))
    def work(number: int) -> None:
        barrier.wait(10)
        seen.append(len(registry))
        barrier.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3, 3, 3]
    assert len(registry) == 0


async def test_a_registry_of_threads_takes_async_functions(registry: Registry) -> None:
    """`Registry.member` decorates async functions too: the entry is there while the coroutine runs."""

    @registry.member("a")
    async def work() -> bool:
        await asyncio.sleep(0)
        return "a" in registry

    coroutine = work()
    assert "a" not in registry
    assert await coroutine is True
    assert "a" not in registry


async def test_async_functions_are_awaited(registry_folder: Path) -> None:
    """`AsyncRegistry.member` decorates async functions: calls run at once under ids of their own, and an error or the
    cancelling of a call ends its entry."""
    async with adsum.open_async(path=registry_folder) as registry:
        works = asyncio.Event()

        @registry.member(lambda name, _last: name, heartbeat="loop")
        async def work(name: str, last: float) -> int:
            works.set()
            entry = registry[name]
            assert entry.metadata.heartbeat == 1.0
            await asyncio.sleep(last)
            return len(registry)

        first, second = await asyncio.gather(work("a", 0.2), work("b", 0.2))
        assert first == 2
        assert second in (1, 2)
        works.clear()
        task = asyncio.create_task(work("c", 60))
        await works.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(registry) == 0
        # Others find an entry before its task has the reply. When it is cancelled then, the entry is given back.
        task = asyncio.create_task(work("d", 60))
        await registry.wait_for("d", timeout=10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually_awaited(lambda: not registry)
        for _ in range(2):
            await work("d", 0)


@pytest.mark.parametrize("function", [7, "f", None])
def test_what_is_no_function_is_refused(either: Registry, function: Any) -> None:
    """The decorator is for functions."""
    with pytest.raises(TypeError, match="decorates a function"):
        either.member("a")(function)


def test_generators_are_refused(either: Registry) -> None:
    """A generator is refused, because its call ends before its work begins."""

    def numbers() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match="is a generator"):
            either.member("a")(function)


def test_an_id_is_needed(either: Registry) -> None:
    """The decorator without its parentheses is refused with what to write."""

    def work() -> None: ...

    with pytest.raises(TypeError, match=r"write @registry.member\('id'\) above .*work"):
        either.member(work)  # type: ignore[arg-type]


def test_an_async_registry_takes_async_functions_alone(registry_folder: Path) -> None:
    """A plain function could not await its registration."""
    registry = AsyncRegistry(path=registry_folder)
    with pytest.raises(TypeError, match="no async function"):
        registry.member("a")(print)  # type: ignore[arg-type]
    registry._close()
