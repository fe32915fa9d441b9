"""Many threads and many tasks use one registry: no reply is lost, repeated, or given to another caller."""

from __future__ import annotations

import asyncio
import functools
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import AlreadyRegistered, AsyncRegistry, Registry

from ..support import Agent, liveness_of
from .people import gone_from_tables, kill_unreaped, sleepers

THREADS = 12
TASKS = 200
ROUNDS = 40


def in_threads(number: int, work: Callable[[int], None]) -> None:
    """Run `work(0)`, `work(1)`, ... in threads at the same time, and raise here what one of them raises. The
    interpreter switches threads as often as it can."""
    failed: list[BaseException] = []
    start = threading.Barrier(number)

    def run(name: int) -> None:
        start.wait()
        try:
            work(name)
        except BaseException as error:  # noqa: BLE001 - the main thread of the test raises it
            failed.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in range(number)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if failed:
        raise failed[0]


def one_life(registry: Registry, name: str, rng: random.Random) -> None:
    """Everything that can be done to an entry, each step checked against what this caller did before."""
    registration = registry.register(name, custom={"step": 0})
    incarnation = registration.entry.incarnation
    assert registry.get_or_register(name) == (registration.entry, False)
    last = registration.entry.revision
    for step in range(1, rng.randrange(2, 5)):
        entry = registration.update(custom={"step": step, "of": name})
        assert (entry.process_id.local_id, entry.incarnation) == (name, incarnation)
        assert entry.metadata.custom == {"step": step, "of": name}
        assert entry.revision > last
        assert registry[name] == entry
        last = entry.revision
    with pytest.raises(AlreadyRegistered) as refused:
        registry.register(name)
    assert refused.value.entry == registration.entry
    assert registry.register_nowait(f"{name}-too").result().process_id.local_id == f"{name}-too"
    assert registry.unregister(f"{name}-too")
    assert registration.unregister()
    assert not registry.unregister(name)
    assert registry.lookup(name) is None


def test_threads_share_a_registry(registry: Registry) -> None:
    """Each of many threads gets the replies to its own calls, whatever the others do."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")

    def work(thread: int) -> None:
        rng = random.Random(seed + thread)
        for number in range(ROUNDS):
            one_life(registry, f"thread-{thread}-{number}", rng)

    in_threads(THREADS, work)
    gone_from_tables(registry)
    assert registry.stats().revision >= THREADS * ROUNDS * 4


def test_the_first_use_by_many_threads_at_once(registry_folder: Path) -> None:
    """Many threads can make the first use of a registry at the same moment."""
    with Agent(registry_folder) as agent:
        agent.do("registry.register_many([(f'n{number}', {'capabilities': {'c'}}) for number in range(50)])")
        for _ in range(20):
            with adsum.open(path=registry_folder, timeout=10) as fresh:
                in_threads(THREADS, functools.partial(_all_reads, fresh, agent.pid))


def _all_reads(registry: Registry, pid: int, thread: int) -> None:
    reads: list[Callable[[], bool]] = [
        lambda: len(registry.find(capability="c")) == 50,
        lambda: registry["n7"].pid == pid,
        lambda: registry.count(capability="c") == 50,
    ]
    # The first read has to open the tables.
    for turn in range(len(reads)):
        assert reads[(thread + turn) % len(reads)]()


async def test_tasks_share_a_registry(registry_folder: Path) -> None:
    """Each of many tasks gets the replies to its own calls."""
    async with adsum.open_async(path=registry_folder, timeout=20) as registry:
        await asyncio.gather(*(_one_life(registry, f"task-{number}") for number in range(TASKS)))
        assert registry.stats().entries == 0
        assert registry.stats().revision == 5 * TASKS


async def _one_life(registry: AsyncRegistry, name: str) -> None:
    async with await registry.register(name) as registration:
        for step in range(3):
            entry = await registration.update(custom={"step": step, "of": name})
            assert entry.metadata.custom == {"step": step, "of": name}
            assert registry.lookup(name) == entry
    assert registry.lookup(name) is None


def test_of_many_callers_for_one_id_one_gets_it(registry: Registry, registry_folder: Path) -> None:
    """Of threads of two processes that `get_or_register` one id, exactly one creates it, and all get one holder."""
    ids = [f"race-{number}" for number in range(30)]
    work = f"""
import threading
answers = []
start = threading.Barrier(4)
def race():
    start.wait()
    for id in {ids!r}:
        answers.append((id, *registry.get_or_register(id)))
threads = [threading.Thread(target=race) for _ in range(4)]
"""
    with Agent(registry_folder) as one, Agent(registry_folder) as other:
        for agent in (one, other):
            agent.do(work)
        for agent in (one, other):
            agent.do("for thread in threads: thread.start()")
        answers = []
        for agent in (one, other):
            agent.do("for thread in threads: thread.join()")
            answers += agent.value("answers")
        for id in ids:
            mine = [(entry, created) for asked, entry, created in answers if asked == id]
            assert len(mine) == 8
            assert sum(created for _, created in mine) == 1
            assert {entry.incarnation for entry, _ in mine} == {registry[id].incarnation}


def test_threads_that_read_never_miss_the_living_nor_meet_the_dead(registry: Registry) -> None:
    """With more owners than kept descriptors and many reading threads, each read finds all living members, and no
    member that was dead before the read began."""
    liveness_of(registry).capacity = 8
    with sleepers(40) as processes:
        for number, process in enumerate(processes):
            registry.register(f"s{number}", process, capabilities={"c"})
        # Only ever appended to, so other threads may iterate it.
        dead: list[int] = []
        over = threading.Event()

        def work(thread: int) -> None:
            if thread == 0:
                # The last eight stay alive.
                for number, process in enumerate(processes[:32]):
                    kill_unreaped(process)
                    dead.append(number)
                    over.wait(0.03)
                over.set()
            while not over.is_set():
                (_look_up if thread % 3 else _find)(registry, dead)

        in_threads(7, work)


def _look_up(registry: Registry, dead: list[int]) -> None:
    # Dead and living members alternate: one is evicted while the other is read.
    for number in (*dead[-2:], *range(32, 40), len(dead)):
        was_dead = number in dead
        found = registry.lookup(f"s{number}")
        assert found is None or not was_dead, f"s{number} was handed out after its death"
        assert found is not None or number < 32, f"s{number} lives and was not found"


def _find(registry: Registry, dead: list[int]) -> None:
    before = {f"s{number}" for number in dead}
    found = {entry.process_id.local_id for entry in registry.find(capability="c")}
    assert not found & before
    assert found >= {f"s{number}" for number in range(32, 40)}
