"""A registry and `fork`: parent and child both continue to use it, and the child owns none of the parent's entries."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

import adsum
from adsum import Registration, Registry

from ..support import Child, eventually
from .people import gone_from_tables, in_fork, open_descriptors, sleeper


@pytest.fixture
def living_thread() -> Iterator[threading.Thread]:
    """A thread that runs until the end of the test."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield thread
    over.set()
    thread.join()


def test_parent_and_child_both_register_and_read(registry: Registry) -> None:
    """After a fork, parent and child each register under their own pid, and each sees the other's entry."""
    registry.register("parent")

    def child() -> tuple[int, int]:
        registry.register("child")
        return registry["parent"].pid, registry["child"].pid

    def checked() -> tuple[int, int]:
        seen = child()
        assert seen[1] == os.getpid()
        return seen

    assert in_fork(checked)[0] == os.getpid()
    registry.update("parent", custom={"after": "the fork"})
    registry.register("parent-too")
    gone_from_tables(registry, 2)


def test_the_death_of_a_child_ends_only_what_it_registered(registry: Registry) -> None:
    """A child that closes the registry and dies ends its own entries and none of its parent's."""
    registry.register("parent")

    def child() -> None:
        registry.register("child")
        registry.close()

    in_fork(child)
    gone_from_tables(registry, 1)
    assert registry["parent"].pid == os.getpid()


def test_members_in_the_parent_outlive_the_child(registry: Registry, living_thread: threading.Thread) -> None:
    """The entry of a parent's thread stays when a child ends, although the child inherited the parent's session."""
    registry.register("thread", living_thread)

    def child() -> None:
        assert registry.lookup("thread")
        registry.close()

    in_fork(child)
    with adsum.open(path=registry.folder, timeout=10) as other:
        other.register("sign", capabilities={"later than the end of the child"})
    assert registry.lookup("thread")
    assert registry.stats().entries == 2


def test_a_childs_threads_are_its_own(registry: Registry, living_thread: threading.Thread) -> None:
    """A child can register its own threads, whose ends it reports; the entry of the parent's thread stays."""
    registry.register("thread", living_thread)

    def child() -> None:
        over = threading.Event()
        mine = threading.Thread(target=over.wait)
        mine.start()
        registry.register("childs-thread", mine)
        assert registry["childs-thread"].pid == os.getpid()
        over.set()
        mine.join()
        eventually(lambda: registry.lookup("childs-thread") is None)

    in_fork(child)
    assert registry.lookup("thread")


def test_forks_of_forks(registry: Registry) -> None:
    """A child forks a child that forks another: each registers itself and sees all its ancestors."""

    def descend(depth: int) -> int:
        registry.register(f"depth-{depth}")
        assert [registry[f"depth-{above}"].pid != os.getpid() for above in range(depth)] == [True] * depth
        seen = len(registry)
        return seen if depth == 3 else in_fork(lambda: descend(depth + 1))

    assert descend(0) == 4
    gone_from_tables(registry, 1)


def test_a_fork_in_a_thread(registry: Registry) -> None:
    """A thread forks; the child, which has only that thread, uses the registry, and so does the parent."""
    registry.register("parent")
    answers: list[str] = []

    def child() -> str:
        registry.register("child")
        return str(registry["child"].process_id)

    thread = threading.Thread(target=lambda: answers.append(in_fork(child)))
    thread.start()
    thread.join()
    assert answers == [str(adsum.ProcessId(registry.namespace, registry.node, "child"))]
    registry.update_health("parent", "degraded")


def _incarnation(register: Callable[[], Registration]) -> int:
    return register().entry.incarnation


def test_forks_at_the_same_time(registry: Registry) -> None:
    """Threads that fork at the same moment do not disturb each other, in the parent or in the children."""
    registry.register("parent")
    answers: list[int] = []

    def fork_often(name: int) -> None:
        for number in range(10):
            register = functools.partial(registry.register, f"{name}-{number}")
            answers.append(in_fork(functools.partial(_incarnation, register)))

    threads = [threading.Thread(target=fork_often, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 40
    gone_from_tables(registry, 1)


def _in_multiprocessing(registry: Registry, name: str, barrier: Barrier) -> None:
    registry.register(name, capabilities={"member"})
    barrier.wait()
    members = registry.find(capability="member")
    barrier.wait()
    sys.exit(0 if len(members) == 3 and registry[name].pid == os.getpid() else 1)


def _start_processes(folder: str, method: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    registry.register("parent")
    context: BaseContext = multiprocessing.get_context(method)
    barrier = context.Barrier(3)
    members = [f"member-{number}" for number in range(3)]
    processes = [context.Process(target=_in_multiprocessing, args=(registry, name, barrier)) for name in members]  # type: ignore[attr-defined]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes], registry["parent"].pid == os.getpid())
    input()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(registry: Registry, method: str) -> None:
    """Processes of `multiprocessing`, however started, register and read through a registry passed to them."""
    with Child(_start_processes, registry.folder, method) as parent:
        parent.expect("[0, 0, 0] True")
        gone_from_tables(registry, 1)


def test_pickling_keeps_what_a_registry_is(registry_folder: Path) -> None:
    """A pickled registry opens the same folder, with the same namespace, node and timeout."""
    with adsum.open(path=registry_folder, namespace="space", node="here", timeout=10) as registry:
        registry.register("name")
        with pickle.loads(pickle.dumps(registry)) as again:
            assert (again.folder, again.namespace, again.node) == (registry_folder, "space", "here")
            assert again.timeout == 10
            assert list(again) == list(registry)


def test_a_fork_leaves_other_descriptors_alone(registry: Registry, living_thread: threading.Thread) -> None:
    """After a registry was closed, a forked child does not close descriptors that were opened since."""
    registry.register("thread", living_thread)
    registry.register_nowait("other").result()
    registry.close()
    mine = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(20)]
    try:
        in_fork(lambda: [os.fstat(descriptor).st_ino for descriptor in mine])
    finally:
        for descriptor in mine:
            os.close(descriptor)


def test_children_keep_no_descriptor_of_the_parents_work(registry: Registry, living_thread: threading.Thread) -> None:
    """In forks nested ten deep, a process keeps only the descriptors it started with and its own."""
    registry.register("thread", living_thread)
    with sleeper() as process:
        registry.register("sleeper", process)
        assert registry.lookup("sleeper")

        def descend(depth: int) -> int:
            assert registry.lookup("sleeper")
            return open_descriptors() if depth == 0 else in_fork(lambda: descend(depth - 1))

        shallow = in_fork(lambda: descend(0))
        # Each level adds the pipes that `in_fork` reads from, one for each level above.
        assert in_fork(lambda: descend(10)) <= shallow + 10 * 2


def _readers(folder: str) -> None:
    import lmdb

    with lmdb.open(f"{folder}/tables.1", readonly=True, create=False, lib_version=0) as environment:
        lines = environment.readers().splitlines()[1:]
        print(*(line.split()[0] for line in lines))


def test_the_parents_reader_slot_survives_its_children(registry: Registry) -> None:
    """When children that read have ended, the parent keeps its slot in LMDB's reader table, and reads new entries."""
    registry.register("parent")

    def child() -> None:
        assert registry.lookup("parent")
        assert registry.find()

    for number in range(5):
        in_fork(child)
        registry.update("parent", custom={"number": number})
        assert registry["parent"].metadata.custom == {"number": number}
        assert registry.find()
    with Child(_readers, registry.folder) as lister:
        assert str(os.getpid()) in lister.line().split()


async def test_a_fork_in_a_running_loop(registry_folder: Path) -> None:
    """A process forks inside its event loop: the child uses the registry synchronously, the parent asynchronously."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        await registry.register("parent")

        def child() -> int:
            assert registry.lookup("parent")
            with adsum.open(path=registry_folder, timeout=10) as synchronous:
                return synchronous.register("child").entry.pid - os.getpid()

        assert in_fork(child) == 0
        await registry.update("parent", custom={"after": "the fork"})
        assert registry.lookup("parent")


def test_a_call_in_flight_at_a_fork_is_the_parents(registry: Registry) -> None:
    """The parent gets the reply to a call in flight; in the child the future fails and cannot be cancelled."""
    with sleeper() as holder:
        registry.register("lead", holder)
        waiting = registry.stand_by("lead")

        def child() -> tuple[str, bool]:
            return str(waiting.exception(10)), waiting.cancel()

        message, given_up = in_fork(child)
        assert "parent" in message
        assert not given_up
        assert not waiting.done()
        holder.kill()
        assert waiting.result(10).entry.pid == os.getpid()
