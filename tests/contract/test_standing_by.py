"""Standing by for an id: the id goes to its standbys in the order in which they came."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import (
    AlreadyRegistered,
    InvalidMetadata,
    InvalidProcessId,
    Limits,
    Registry,
    RegistryClosed,
    RegistryFull,
)
from tests.support import WITHIN, Agent, Opener, eventually, eventually_awaited


def holder_pid(registry: Registry, id: str = "lead") -> int | None:
    entry = registry.lookup(id)
    return entry.pid if entry else None


def stand_by(agent: Agent, id: str = "lead", **metadata: object) -> None:
    """Let `agent` stand by; on return it has its position."""
    agent.do(f"waiting = registry.stand_by({id!r}, **{metadata!r})")


def fill(registry: Registry, size: int) -> None:
    """Register entries of this size until the registry is full."""
    for number in range(1000):
        try:
            registry.register(f"full-{number}", custom={"ballast": "x" * size})
        except RegistryFull:
            return
    raise AssertionError("there is always room for more")


def is_granted(future: Any) -> bool:
    return bool(future.done())


def test_a_free_id_is_held_at_once(either: Registry) -> None:
    """Standing by for a free id is a registration; the future is done."""
    future = either.stand_by("lead", capabilities={"x"}, custom={"n": 1})
    registration = future.result(0)
    assert registration.entry == either["lead"]
    assert registration.entry.metadata.custom == {"n": 1}
    assert registration.update(endpoint="e").metadata.endpoint == "e"
    assert registration.unregister() is True


def test_an_unregistered_id_goes_to_the_standby(either: Registry) -> None:
    """The standby's registration has the revision after the removal: the id was free at no revision."""
    with Agent(either.folder) as agent, either.watch("lead") as watch:
        agent.do("held = registry.register('lead')")
        future = either.stand_by("lead", custom={"successor": True})
        assert not is_granted(future)
        agent.do("held.unregister()")
        registration = future.result(WITHIN)
        assert [(event.kind, event.revision) for event in (watch.next(WITHIN) for _ in range(3))] == [
            ("registered", 1),
            ("unregistered", 2),
            ("registered", 3),
        ]
        assert (registration.entry.pid, registration.entry.incarnation) == (os.getpid(), 3)
        assert registration.entry == either["lead"]


def test_the_id_of_a_killed_holder_goes_to_the_standby(either: Registry) -> None:
    """When the holder is killed with SIGKILL, the standby holds the id."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('lead')")
        future = either.stand_by("lead")
        agent.kill_unreaped()
        assert future.result(WITHIN).entry.pid == os.getpid() == holder_pid(either)
    assert either.departures(1)[0].how == "died"


def test_a_thread_that_ends_is_succeeded(opener: Opener) -> None:
    """When a thread of this process ends, a standby gets the id of its entry."""
    registry, over = opener(), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    registry.register("lead", thread)
    future = registry.stand_by("lead")
    assert not is_granted(future)
    over.set()
    thread.join()
    assert future.result(WITHIN).entry == registry["lead"]


async def test_a_task_that_ends_is_succeeded(registry_folder: Path) -> None:
    """When a task is done or cancelled, a standby gets the id of its entry."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        for end in ("cancel", "finish"):
            go_on = asyncio.Event()
            task = asyncio.create_task(go_on.wait())
            await registry.register("lead", task)
            successor = asyncio.create_task(registry.stand_by("lead"))
            await asyncio.sleep(0)
            await registry.unregister("nobody at all")
            assert not successor.done()
            if end == "cancel":
                task.cancel()
            go_on.set()
            await asyncio.wait([task])
            registration = await asyncio.wait_for(successor, WITHIN)
            assert registration.entry == registry["lead"]
            await registration.unregister()


def test_first_come_first_served(opener: Opener) -> None:
    """Each time the id becomes free it goes to the standby that has waited longest, in any process."""
    registry = opener()
    with Agent(registry.folder) as one, Agent(registry.folder) as two, Agent(registry.folder) as three:
        line = [one, three, two]
        with registry.register("lead"):
            for agent in line:
                stand_by(agent)
            assert holder_pid(registry) == os.getpid()
        for agent in line:
            assert agent.value("waiting.result(9).entry.pid") == agent.pid == holder_pid(registry)
            agent.do("waiting.result().unregister()")
        assert holder_pid(registry) is None


def test_a_plain_registration_never_overtakes(either: Registry) -> None:
    """A client that registers an id when it becomes free finds it held by the standby."""
    with Agent(either.folder) as agent:
        for _ in range(10):
            mine = either.register("lead")
            stand_by(agent)
            mine.unregister()
            with pytest.raises(AlreadyRegistered) as refused:
                either.register("lead")
            assert refused.value.entry.pid == agent.pid
            agent.do("waiting.result(9).unregister()")


def test_taking_a_dead_holders_id_never_overtakes(either: Registry) -> None:
    """A client that finds a real zombie before the registrar does cannot overtake a standby in another process."""
    with Agent(either.folder) as successor:
        for number in range(5):
            with Agent(either.folder) as holder:
                holder.do("registry.register('lead')")
                stand_by(successor)
                holder.kill_unreaped()
                entry, created = either.get_or_register("lead")
                assert (entry.pid, created) == (successor.pid, False), number
                successor.do("waiting.result(9).unregister()")


def test_a_cancelled_standby_is_skipped(either: Registry) -> None:
    """A standby that cancels is skipped, and the next one holds the id."""
    with Agent(either.folder) as holder, Agent(either.folder) as next_in_line:
        holder.do("held = registry.register('lead')")
        future = either.stand_by("lead")
        stand_by(next_in_line)
        assert future.cancel()
        assert future.cancelled()
        if isinstance(either, Registry):
            # Sent after the cancellation, on the same connection.
            either.register_nowait("sign").result()
        holder.do("held.unregister()")
        assert next_in_line.value("waiting.result(9).entry.pid") == holder_pid(either) == next_in_line.pid


def test_a_cancelled_standby_leaves_the_id_free(either: Registry) -> None:
    """If a cancellation crosses the grant, the id ends up free or with the process that was granted it."""
    with Agent(either.folder) as agent:
        agent.do("import threading")
        for _ in range(20):
            agent.do("held = registry.register('lead')")
            future = either.stand_by("lead")
            agent.do("threading.Thread(target=held.unregister).start()")
            if not future.cancel():
                future.result().unregister()
            eventually(lambda: holder_pid(either) is None)


def test_closing_the_registry_cancels_its_standbys(opener: Opener) -> None:
    """Closing the registry ends the future with `RegistryClosed`, and the next standby gets the id."""
    registry, waiting = opener(), opener()
    with Agent(registry.folder) as agent, Agent(registry.folder) as holder:
        holder.do("held = registry.register('lead')")
        future = waiting.stand_by("lead")
        stand_by(agent)
        waiting.close()
        with pytest.raises(RegistryClosed):
            future.result(WITHIN)
        # The registrar notices the closed connection before it handles a later request.
        registry.register("sign")
        holder.do("held.unregister()")
        assert agent.value("waiting.result(9).entry.pid") == agent.pid == holder_pid(registry)


def test_a_holder_cannot_stand_by_for_its_own_id(either: Registry) -> None:
    """A process that stands by for an id that it holds itself gets `AlreadyRegistered` at once."""
    mine = either.register("lead").entry
    with pytest.raises(AlreadyRegistered, match="cannot take over from itself") as refused:
        either.stand_by("lead")
    assert refused.value.entry == mine


def test_mistakes_raise_at_once(either: Registry) -> None:
    """An invalid request to stand by is refused at once, whether the id is held or free, and gets no position."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('lead')")
        for id in ("lead", "free"):
            with pytest.raises(InvalidMetadata, match="colour"):
                either.stand_by(id, colour="red")  # type: ignore[call-arg]
            with pytest.raises(InvalidMetadata, match="capabilities"):
                either.stand_by(id, capabilities={str(number) for number in range(300)})
            with pytest.raises(InvalidMetadata, match="heartbeat"):
                either.stand_by(id, heartbeat=0)
        with pytest.raises(InvalidProcessId):
            either.stand_by("a\0b")
        agent.kill()
    eventually(lambda: either.stats().entries == 0)
    assert len(either) == 0


def test_two_standbys_of_one_process(either: Registry) -> None:
    """A process may stand by for several ids; each is granted when it becomes free."""
    with Agent(either.folder) as agent:
        agent.do("held = registry.register_many([('a', {}), ('b', {}), ('c', {})])")
        futures = {name: either.stand_by(name) for name in "abc"}
        agent.do("held[1].unregister()")
        assert futures["b"].result(WITHIN).entry == either["b"]
        assert not is_granted(futures["a"])
        agent.kill()
        assert [futures[name].result(WITHIN).process_id.local_id for name in "ac"] == ["a", "c"]


def test_no_room_at_the_grant(opener: Opener) -> None:
    """A standby whose entry has no room at the grant gets `RegistryFull`, and the next standby gets the id."""
    ballast = 60_000
    registry = opener(limits=Limits(max_memory_bytes=1024 * 1024))
    registry.register("first")
    with Agent(registry.folder) as agent, Agent(registry.folder) as holder:
        holder.do("held = registry.register('lead')")
        future = registry.stand_by("lead", custom={"ballast": "x" * ballast})
        stand_by(agent)
        fill(registry, ballast)
        holder.do("held.unregister()")
        with pytest.raises(RegistryFull):
            future.result(WITHIN)
        assert agent.value("waiting.result(9).entry.pid") == agent.pid == holder_pid(registry)


async def test_cancelling_the_task_cancels_the_standby(registry_folder: Path) -> None:
    """A task that is cancelled while it stands by never gets the id."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        with Agent(registry_folder) as agent:
            agent.do("held = registry.register('lead')")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(registry.stand_by("lead"), 0.05)
            await registry.register("sign")
            agent.do("held.unregister()")
            assert registry.lookup("lead") is None
            assert (await registry.stand_by("lead")).entry == registry["lead"]


async def test_many_tasks_stand_by(registry_folder: Path) -> None:
    """Tasks of one process that stand by for one id hold it one after the other, each once, in order."""
    order: list[int] = []

    async def candidate(registry: adsum.AsyncRegistry, number: int) -> None:
        async with await registry.stand_by("lead"):
            order.append(number)

    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        with Agent(registry_folder) as agent:
            agent.do("held = registry.register('lead')")
            tasks = [asyncio.create_task(candidate(registry, number)) for number in range(10)]
            await asyncio.sleep(0)
            await registry.unregister("nobody at all")
            agent.do("held.unregister()")
            await asyncio.wait_for(asyncio.gather(*tasks), WITHIN)
            await eventually_awaited(lambda: registry.lookup("lead") is None)
    assert order == list(range(10))
