"""The end of a watch: the threads and tasks that wait in it, and the descriptors that it holds."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import adsum
from adsum import AsyncRegistry, AsyncWatch, Event, Registry, RegistryClosed, Timeout, Watch
from tests.support import WITHIN, Opener, eventually, eventually_awaited, settle, stopped


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def waits(watch: Watch | AsyncWatch) -> bool:
    """Whether a consumer waits in it, and a change would wake it."""
    return _is_consumed(watch) and watch._waiter.is_connected


def _is_consumed(watch: Watch | AsyncWatch) -> bool:
    return watch._waiting_thread != 0 if isinstance(watch, Watch) else watch._is_waiting


@contextmanager
def waiting(watch: Watch) -> Iterator[list[Event | BaseException]]:
    """A thread that waits in `watch` for one event; after the block the list has the event, or the error."""
    got: list[Event | BaseException] = []

    def wait() -> None:
        try:
            got.append(watch.next())
        except BaseException as error:  # noqa: BLE001 - the test decides
            got.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: waits(watch))
    yield got
    thread.join(WITHIN)
    assert not thread.is_alive(), "the thread waits for ever"


def test_a_closed_watch_has_nothing_more(either: Registry) -> None:
    """After `close`, which may be called twice, `next` raises `RegistryClosed` and an iteration ends."""
    with either.watch() as watch:
        either.register("a")
        watch.close()
        watch.close()
        assert list(watch) == []
        with pytest.raises(RegistryClosed, match="this watch was closed"):
            watch.next(0)
    assert either.lookup("a")


def test_closing_the_registry_closes_its_watches(opener: Opener) -> None:
    """A watch ends when the registry object that made it is closed, and with no other."""
    closed, other = opener(), opener()
    watch, still_open = closed.watch(), other.watch()
    closed.close()
    with pytest.raises(RegistryClosed):
        watch.next(0)
    other.register("a")
    assert still_open.next(WITHIN).kind == "registered"
    still_open.close()


def test_a_closed_registry_follows_nothing(opener: Opener) -> None:
    """`watch`, `wait_for`, `stand_by` and `heartbeat` of a closed registry raise `RegistryClosed`."""
    registry = opener()
    registry.register("a")
    registry.close()
    with pytest.raises(RegistryClosed):
        registry.watch()
    with pytest.raises(RegistryClosed):
        registry.wait_for("b", timeout=0)
    with pytest.raises(RegistryClosed):
        registry.stand_by("a")
    with pytest.raises(RegistryClosed):
        registry.heartbeat("a")


def test_a_timeout_may_come_at_any_step(opener: Opener) -> None:
    """A wait whose time is up raises `Timeout` at any step, also while the client connects and requests the bell."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    at_random = random.Random(seed)
    opener().register("a")
    for _ in range(100):
        opened = opener()
        with opened.watch() as watch, pytest.raises(Timeout):
            watch.next(at_random.uniform(0, 0.003))
        opened.close()


def test_closing_a_watch_gives_back_what_it_held(either: Registry) -> None:
    """However many watches were opened, used and closed, they leave no descriptor open."""
    either.register("a")
    settle(either)
    before = descriptors()
    for _ in range(50):
        with either.watch() as watch, pytest.raises(Timeout):
            watch.next(0.001)
    # The first watch opens the tables and the bell, once.
    eventually(lambda: descriptors() < before + 20)


def test_a_watch_that_is_forgotten_holds_nothing(registry: Registry) -> None:
    """A watch without references closes its descriptors, without a call of `close`."""
    registry.register("a")
    registry.watch()
    settle(registry)
    before = descriptors()
    for _ in range(20):
        registry.watch()
    assert descriptors() == before


def test_closing_wakes_the_waiting_thread(registry: Registry) -> None:
    """When another thread closes the watch, a thread that waits in `next` gets `RegistryClosed` at once."""
    registry.register("a")
    watch = registry.watch()
    with waiting(watch) as got:
        watch.close()
    assert [type(end) for end in got] == [RegistryClosed]


def test_closing_the_registry_wakes_the_waiting_threads(registry: Registry) -> None:
    """Closing the registry ends the wait of every thread in every watch of it."""
    registry.register("a")
    with waiting(registry.watch()) as one, waiting(registry.watch()) as other:
        registry.close()
    assert [type(end) for end in [*one, *other]] == [RegistryClosed, RegistryClosed]


def test_closing_the_registry_ends_a_wait_for(registry: Registry) -> None:
    """When the registry is closed, a thread in `wait_for` gets `RegistryClosed`: no member can come any more."""
    looked = threading.Event()

    def where(_entry: object) -> bool:
        looked.set()
        return False

    registry.register("a")
    with ThreadPoolExecutor() as threads:
        waited = threads.submit(registry.wait_for, where=where, timeout=WITHIN)
        looked.wait(WITHIN)
        registry.close()
        with pytest.raises(RegistryClosed, match="this registry was closed"):
            waited.result(WITHIN)


def test_threads_share_the_events_of_a_watch(registry: Registry) -> None:
    """Of several threads that iterate one watch each event goes to exactly one."""
    got: list[Event] = []
    with registry.watch() as watch, ThreadPoolExecutor() as threads:
        done = [threads.submit(got.extend, watch) for _ in range(4)]
        for number in range(100):
            registry.register(f"a{number}")
        eventually(lambda: watch.revision == 100)
        watch.close()
        for one in done:
            one.result(WITHIN)
    assert sorted(event.revision for event in got) == list(range(1, 101))


def test_every_thread_has_its_own_timeout(registry: Registry) -> None:
    """A thread with a short timeout is not held up by another that waits in the same watch for ever."""
    registry.register("a")
    with registry.watch() as watch, waiting(watch), ThreadPoolExecutor() as threads:
        hurried = threads.submit(watch.next, 0.01)
        try:
            with pytest.raises(Timeout):
                hurried.result(WITHIN / 2)
        finally:
            registry.register_many([("b", {}), ("c", {})])


@pytest.mark.parametrize("timeout", [0.01, 1e7, 1e12, float("inf")])
def test_any_timeout_is_possible(registry: Registry, timeout: float) -> None:
    """`next` takes a timeout of any length, an infinite one too."""
    registry.register("a")
    with registry.watch() as watch, ThreadPoolExecutor() as threads:
        waited = threads.submit(watch.next, timeout)
        eventually(lambda: waited.done() or waits(watch))
        registry.register("b")
        try:
            assert waited.result(WITHIN).revision == 2
        except Timeout:
            assert timeout < 1


def test_a_registrar_that_is_stopped_costs_no_more_than_the_timeout(registry: Registry) -> None:
    """A wait with a timeout ends in time, although the registrar does not answer."""
    registry.register("a")
    with stopped(registry.folder), ThreadPoolExecutor() as threads, registry.watch() as watch:
        following = threads.submit(watch.next, 0.05)
        waiting = threads.submit(registry.wait_for, "b", timeout=0.05)
        with pytest.raises(Timeout):
            following.result(WITHIN / 2)
        with pytest.raises(Timeout):
            waiting.result(WITHIN / 2)


async def test_a_cancelled_task_loses_nothing(registry_folder: Path) -> None:
    """A task that is cancelled in ``async for`` leaves the watch as it was: the next one gets the next event."""
    seen: list[int] = []

    async def follow(watch: AsyncWatch) -> None:
        async for event in watch:
            seen.append(int(event.revision))  # noqa: PERF401 - what came before the cancellation counts

    async with adsum.open_async(path=registry_folder, timeout=10) as registry, registry.watch() as watch:
        for number in range(1, 21):
            task = asyncio.create_task(follow(watch))
            if number % 2:
                await asyncio.sleep(0)
            await registry.register(f"a{number}")
            if number % 3:
                await eventually_awaited(lambda wanted=number: len(seen) == wanted)  # type: ignore[misc]
            task.cancel()
            await asyncio.wait([task])
        task = asyncio.create_task(follow(watch))
        await eventually_awaited(lambda: len(seen) == 20)
        watch.close()
        await task
    assert seen == list(range(1, 21))


async def test_a_wait_that_is_cancelled_early_costs_nothing(registry_folder: Path) -> None:
    """A watch whose first wait is cancelled while a registrar still starts can be awaited again."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry, registry.watch() as watch:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.next(), 0.001)
        event, _ = await asyncio.wait_for(asyncio.gather(watch.next(), registry.register("a")), WITHIN)
        assert event.revision == 1


async def test_closing_wakes_a_task(registry_folder: Path) -> None:
    """``async for`` ends when the watch is closed, by another task, another thread, or with the registry."""

    async def follow(watch: AsyncWatch) -> list[Event]:
        return [event async for event in watch]

    async def in_a_thread(registry: AsyncRegistry, watch: AsyncWatch) -> None:
        await asyncio.to_thread(watch.close)

    async def by_a_task(registry: AsyncRegistry, watch: AsyncWatch) -> None:
        watch.close()

    async def with_the_registry(registry: AsyncRegistry, watch: AsyncWatch) -> None:
        await registry.close()

    for end in (in_a_thread, by_a_task, with_the_registry):
        async with adsum.open_async(path=registry_folder, timeout=10) as registry:
            # Where there is no registry, a watch makes none, so there is none for it to connect to.
            await registry.get_or_register("made")
            watch = registry.watch()
            task = asyncio.create_task(follow(watch))
            await eventually_awaited(lambda watch=watch: waits(watch))  # type: ignore[misc]
            await end(registry, watch)
            assert await asyncio.wait_for(task, WITHIN) == []


async def test_one_task_at_a_time(registry_folder: Path) -> None:
    """A second task that awaits the same watch gets a `RuntimeError` that advises a watch of its own."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry, registry.watch() as watch:
        task = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="a watch of its own"):
            await watch.next()
        await registry.register("a")
        assert (await asyncio.wait_for(task, WITHIN)).revision == 1


async def test_the_loop_goes_on_while_a_task_waits(registry_folder: Path) -> None:
    """A watch that waits does not block the loop: many of them wait in one loop, and each gets the change."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        watches = [registry.watch() for _ in range(20)]
        tasks = [asyncio.create_task(watch.next()) for watch in watches]
        await registry.register("a")
        events = await asyncio.wait_for(asyncio.gather(*tasks), WITHIN)
        assert {event.revision for event in events} == {1}
        for watch in watches:
            watch.close()


def test_a_watch_keeps_its_registry(registry: Registry) -> None:
    """A watch keeps its registry open without another reference, and closes it when the watch itself has none."""
    registry.register("a")
    assert registry.find()
    settle(registry)
    before = descriptors()
    watch = adsum.open(path=registry.folder, timeout=10).watch()
    gc.collect()
    assert registry.register("b").entry == watch.next(WITHIN).entry
    del watch
    eventually(lambda: gc.collect() >= 0 and descriptors() == before)


def test_an_awaited_watch_keeps_its_registry(registry: Registry) -> None:
    """So does a watch in a task."""

    async def follow() -> Event:
        watch = adsum.open_async(path=registry.folder, timeout=10).watch(since=0)
        gc.collect()
        registry.register("a")
        return await asyncio.wait_for(watch.next(), WITHIN)

    assert asyncio.run(follow()).entry == registry["a"]
