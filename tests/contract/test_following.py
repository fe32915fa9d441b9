"""`follow`: a mapping that is true at each use."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import (
    InvalidQuery,
    LiveEntries,
    MetadataKeywords,
    NotRegistered,
    ProcessId,
    Registry,
    RegistryClosed,
    Timeout,
)
from tests.support import Agent, Opener, kill_registrar


def ids(live: Any) -> list[str]:
    return [id.local_id for id in live]


def test_it_has_what_find_gives(either: Registry) -> None:
    """After every step of a random history the mapping has exactly what `find` with its conditions gives."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    conditions: dict[str, Any] = {"capability": "x", "health_status": "healthy"}
    live = either.follow(**conditions, where=lambda entry: entry.metadata.resources.get("n") != 1)
    for _ in range(150):
        name = draw.choice("abcdef")
        fields: MetadataKeywords = {"capabilities": set(draw.sample("xyz", draw.randint(0, 3)))}
        step = draw.randrange(5)
        if step == 0:
            either.unregister(name)
        elif name not in either:
            either.register(name, **fields)
        elif step == 1:
            either.update_health(name, draw.choice(["healthy", "degraded"]))
        else:
            either.update(name, capabilities=fields["capabilities"], resources={"n": draw.randrange(3)})
        found = either.find(**conditions, where=lambda entry: entry.metadata.resources.get("n") != 1)
        assert dict(live) == {entry.process_id: entry for entry in found}
        assert (list(live.values()), list(live), len(live)) == (found, [e.process_id for e in found], len(found))


def test_it_begins_with_the_present(either: Registry) -> None:
    """Members that were registered before are in it from the start, and those of other namespaces are not."""
    either.register_many([("a", {}), (("other", "n", "b"), {})])
    assert ids(either.follow()) == ["a"]
    assert ids(either.follow(namespace="other")) == ["b"]


def test_it_is_a_read_only_mapping(either: Registry) -> None:
    """An id may be a plain string; an absent one is `NotRegistered`; equality is that of dictionaries; it takes no
    assignment."""
    entry = either.register("a", type="service").entry
    either.register("b")
    live = either.follow(type="service")
    assert (live["a"], live[entry.process_id], live.get("b"), live.get("b", 7)) == (entry, entry, None, 7)
    assert ("a" in live, "b" in live, "" in live, 7 in live) == (True, False, False, False)
    assert live == {entry.process_id: entry}
    with pytest.raises(NotRegistered, match=r"b is not registered, or does not match"):
        live["b"]
    with pytest.raises(TypeError):
        live["a"] = entry  # type: ignore[index]


def test_the_dead_are_not_in_it(either: Registry) -> None:
    """S2: a process that is dead is not in the mapping, also while no registrar removes its entry."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('dead')")
        live = either.follow()
        assert ids(live) == ["dead"]
        kill_registrar(either.folder)
        agent.kill_unreaped()
        assert (ids(live), len(live), "dead" in live, list(live.values())) == ([], 0, False, [])


def test_a_heartbeat_shows(either: Registry) -> None:
    """An entry in the mapping has the last heartbeat, which is no change of the registry."""
    first = either.register("a", heartbeat=60.0).entry
    live = either.follow()
    either.heartbeat("a")
    assert live["a"].metadata.last_health_check > first.metadata.last_health_check


def test_missed_changes_are_made_up_for(opener: Opener) -> None:
    """Where the history does not reach back to its last use, the mapping begins anew with the present."""
    registry = opener()
    live = registry.follow()
    registry.register("a")
    registry.register_many([(str(number), {}) for number in range(2500)])
    for _ in range(2):
        registry.update_many([(str(number), {"endpoint": "x:1"}) for number in range(2500)])
        registry.update_many([(str(number), {"endpoint": None}) for number in range(2500)])
    registry.unregister("a")
    assert live == dict(registry.items())
    assert len(live) == 2500


def test_a_closed_one_is_at_its_end(either: Registry) -> None:
    """After `close`, after the block, and after the registry was closed, every use is an error."""
    first, third = either.follow(), either.follow()
    first.close()
    first.close()
    for use in (lambda: first["a"], lambda: list(first), lambda: len(first), lambda: "a" in first, first.items):
        with pytest.raises(RegistryClosed, match="follow again"):
            use()
    either.close()
    with pytest.raises(RegistryClosed):
        len(third)


def test_a_block_closes_it(registry: Registry) -> None:
    """At the end of its block the mapping is closed."""
    with registry.follow() as live:
        assert len(live) == 0
    with pytest.raises(RegistryClosed):
        len(live)


def test_impossible_conditions_are_refused(either: Registry) -> None:
    """Conditions are checked as in `find`."""
    with pytest.raises(InvalidQuery):
        either.follow(type="pilot")
    with pytest.raises(TypeError, match="no such condition"):
        either.follow(limit=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="where="):
        either.follow(where="x")  # type: ignore[arg-type]


def test_it_goes_on_after_the_registrar(either: Registry) -> None:
    """The death of the registrar is no break."""
    either.register("a")
    live = either.follow()
    kill_registrar(either.folder)
    assert ids(live) == ["a"]
    either.register("b")
    assert ids(live) == ["a", "b"]


def test_a_child_goes_on(registry: Registry) -> None:
    """In a forked child the mapping goes on, also where a thread of the parent was in the middle of a read."""
    live = registry.follow()
    registry.register("a")
    held = live._matching._lock
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            held.acquire()
            entered.set()
            leave.wait(10)
        finally:
            held.release()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    if (child := os.fork()) == 0:
        try:
            # A child that waits for ever must not keep the test.
            signal.alarm(20)
            os._exit(0 if ids(live) == ["a"] else 1)
        finally:
            os._exit(2)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert ids(live) == ["a"]


def test_threads_may_share_it(registry: Registry) -> None:
    """Threads that read the mapping while members come and go see no error, and in the end all see the same."""
    live = registry.follow()
    ended, errors = threading.Event(), []

    def read() -> None:
        try:
            while not ended.is_set():
                for id, entry in live.items():
                    assert entry.process_id == id
        except Exception as error:  # noqa: BLE001 - the test raises it
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        registry.register(str(number))
        if number % 2:
            registry.unregister(str(number))
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert live == dict(registry.items())


# Waiting


def test_it_waits_for_a_predicate(registry: Registry) -> None:
    """`wait` returns what the predicate returns, as soon as that is true: at once, or after a change."""
    live = registry.follow(type="service")
    assert live.wait(lambda live: len(live) == 0, timeout=0) is True
    with Agent(registry.folder) as agent:
        waited: list[Any] = []
        thread = threading.Thread(
            target=lambda: waited.append(live.wait(lambda live: live.get("b"), timeout=30)), daemon=True
        )
        thread.start()
        agent.do("registry.register('a', type='service'); registry.register('b', type='service')")
        thread.join(30)
        assert waited == [registry["b"]]


def test_a_wait_has_an_end(registry: Registry) -> None:
    """Where the predicate does not become true in time, `wait` raises `Timeout`; its errors come out unchanged."""
    live = registry.follow()
    with pytest.raises(Timeout, match="the predicate was not true within 0 s"):
        live.wait(lambda live: len(live) > 0, timeout=0)
    with pytest.raises(ZeroDivisionError):
        live.wait(lambda live: 1 / 0)
    with pytest.raises(ValueError, match="timeout="):
        live.wait(lambda live: True, timeout="soon")  # type: ignore[arg-type]


async def test_it_is_awaited(registry_folder: Path) -> None:
    """With asyncio `wait` is awaited, and everything else is a plain call."""
    async with adsum.open_async(path=registry_folder) as registry, registry.follow() as live:
        waiting = asyncio.create_task(live.wait(lambda live: live.get("a"), timeout=30))
        await asyncio.sleep(0)
        entry = (await registry.register("a")).entry
        assert await waiting == entry == live["a"]
        with pytest.raises(Timeout, match=r"the predicate was not true within 0\.01 s"):
            await live.wait(lambda live: len(live) > 1, timeout=0.01)
        assert isinstance(live, adsum.AsyncLiveEntries)
        assert list(live) == [ProcessId(*entry.process_id)]
        with pytest.raises(TypeError, match="async with"), live:  # type: ignore[attr-defined]
            pass
    with pytest.raises(RegistryClosed):
        len(live)


def test_it_costs_no_descriptor(registry: Registry) -> None:
    """A mapping in which no thread waits has no thread and no descriptor: ten of them have none."""
    registry.register("a")
    before = len(os.listdir("/proc/self/fd"))
    lives: list[LiveEntries] = [registry.follow() for _ in range(10)]
    assert all(len(live) == 1 for live in lives)
    assert len(os.listdir("/proc/self/fd")) < before + 10
    assert not any(thread.name == "adsum-watch" for thread in threading.enumerate())
