"""A fork that Python does not see, as C code makes it (uWSGI's workers, for one): parent and children go on, each with
its own connections, locks, descriptors and reader slots."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

import adsum
from adsum import Registry
from adsum._os import identity
from adsum._os.forking import _OwnByPid
from adsum.model import Owner

from ..support import Child, eventually, stopped
from .people import gone_from_tables, in_fork, kill_unreaped, sleeper, unseen_fork
from .test_fork import _readers

in_unseen_fork = functools.partial(in_fork, fork=unseen_fork)


def _prefork(folder: str) -> None:
    """Fork three workers that register at the same moment, and print what each got."""
    registry = adsum.open(path=folder, timeout=10)
    registry.register("master")
    start = time.monotonic() + 0.2
    for worker in range(3):
        if not unseen_fork():
            time.sleep(max(0.0, start - time.monotonic()))
            made = [registry.register(f"w{worker}-{number}") for number in range(20)]
            right = [one.entry.pid == os.getpid() for one in made]
            right += [one.process_id.local_id == f"w{worker}-{number}" for number, one in enumerate(made)]
            # One write for each line: unbuffered, `print` makes two, and the workers share the pipe.
            os.write(1, f"{worker} {sum(right)}\n".encode())
            os._exit(0)
    for _ in range(3):
        os.wait()
    print(len(registry.find()), flush=True)


def test_each_worker_gets_its_own_answers(registry_folder: Path) -> None:
    """Workers that register at the same time get the registrations that they asked for, each under its own pid."""
    with Child(_prefork, registry_folder) as master:
        assert sorted(master.line() for _ in range(3)) == ["0 40", "1 40", "2 40"]
        master.expect("1")


@pytest.mark.parametrize("fork", [os.fork, unseen_fork])
def test_a_child_with_the_pid_of_an_ancestor(fork: Callable[[], int]) -> None:
    """Pids come again: a child that has the one of an ancestor is not taken for it."""
    pid = os.getpid()
    assert identity.current().pid == pid
    new = Owner(pid, 5, 5)

    def who() -> Owner:
        with mock.patch("os.getpid", return_value=pid), mock.patch.object(identity, "identify", return_value=new):
            return identity.current()

    assert in_fork(who, fork=fork) == new


@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_death_is_seen_by_both(registry: Registry, first: str) -> None:
    """A death that one of them has noticed is noticed by the other as well, although they inherited one epoll."""
    with sleeper() as process, sleeper() as other:
        registry.register("sleeper", process)
        registry.register("other", other)
        assert registry.lookup("sleeper")
        assert registry.lookup("other")

        def child() -> bool:
            if first == "child":
                assert registry.lookup("other")
                os.kill(process.pid, signal.SIGKILL)
            eventually(lambda: registry.lookup("sleeper") is None)
            return registry.lookup("other") is not None

        if first == "parent":
            reading, writing = os.pipe()

            def notice() -> None:
                kill_unreaped(process)
                assert registry.lookup("sleeper") is None
                os.write(writing, b".")

            waiting = threading.Thread(target=notice)
            waiting.start()
            assert in_unseen_fork(lambda: os.read(reading, 1) == b"." and child())
            waiting.join()
            os.close(reading)
            os.close(writing)
        else:
            assert in_unseen_fork(child)
        assert registry.lookup("sleeper") is None
        assert registry.lookup("other")


def test_the_parents_reader_slot_survives(registry: Registry) -> None:
    """Children that read, and close what they inherited, leave the parent its slot in LMDB's reader table."""
    registry.register("parent")
    assert registry.find()

    def child() -> int:
        return len(registry.find())

    for _ in range(5):
        assert in_unseen_fork(child) == 1
    with Child(_readers, registry.folder) as lister:
        assert str(os.getpid()) in lister.line().split()
    assert registry.find()


def test_a_fork_while_other_threads_hold_locks(registry: Registry, registry_folder: Path) -> None:
    """A child goes on although threads of the parent were inside calls: one waited for its reply, one dialled."""
    registry.register("parent")
    with sleeper() as process, registry.watch() as watch:
        registry.register("sleeper", process)
        assert watch.next(10).entry == registry["sleeper"]
        calls = (
            lambda: registry.update("parent", custom={"from": "a thread"}),
            lambda: registry.update_health("parent", "degraded"),
            lambda: adsum.open(path=registry_folder, timeout=10).watch().next(10),
        )
        threads = [threading.Thread(target=call) for call in calls]
        with stopped(registry_folder) as registrar:
            for thread in threads:
                thread.start()

            def child() -> int:
                os.kill(registrar, signal.SIGCONT)
                registry.register_nowait("nowait").result(10)
                return registry.register("child").entry.pid - os.getpid()

            assert in_unseen_fork(child) == 0
        for thread in threads:
            thread.join()
    assert registry["parent"].metadata.custom == {"from": "a thread"}


def test_forks_of_forks_of_both_kinds(registry: Registry) -> None:
    """Forks that Python sees and forks that it does not see follow each other; each process registers itself."""

    def descend(depth: int) -> int:
        fork = unseen_fork if depth % 2 else os.fork
        if depth != 2:
            # A process that does not use the registry before it forks.
            assert registry.register(f"depth-{depth}").entry.pid == os.getpid()
        return depth if depth == 4 else in_fork(lambda: descend(depth + 1), fork=fork)

    assert descend(0) == 4
    gone_from_tables(registry, 1)


def test_watches_standbys_and_threads_are_the_childs_own(registry: Registry) -> None:
    """In the child a watch of the parent's goes on, a future of the parent's fails, and threads of the child end."""
    with sleeper() as holder:
        registry.register("lead", holder)
        waiting = registry.stand_by("lead")
        with registry.watch() as watch:

            def child() -> str:
                over = threading.Event()
                mine = threading.Thread(target=over.wait)
                mine.start()
                registry.register("childs-thread", mine)
                assert watch.next(10).entry == registry["childs-thread"]
                over.set()
                mine.join()
                assert watch.next(10).kind == "unregistered"
                return str(waiting.exception(10))

            assert "parent" in in_unseen_fork(child)
            assert watch.next(10).entry is not None
        holder.kill()
        assert waiting.result(10).entry.pid == os.getpid()


def test_asyncio_in_the_child(registry_folder: Path) -> None:
    """A registry that was opened before the fork is used by an event loop of the child."""
    opened: list[adsum.AsyncRegistry] = []

    async def open_one() -> None:
        opened.append(adsum.open_async(path=registry_folder, timeout=10))
        await opened[0].register("parent")

    async def use() -> bool:
        me = await opened[0].register("child")
        return me.entry.pid == os.getpid() and len(opened[0].find()) == 2

    asyncio.run(open_one())
    assert in_unseen_fork(lambda: asyncio.run(use()))
    asyncio.run(opened[0].close())


_EXITS = """
import ctypes, os, sys, threading, time
import adsum
registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("parent", threading.current_thread())
threading.Thread(target=registry.wait_for, args=("never",), daemon=True).start()
threading.Thread(target=registry.watch().next, daemon=True).start()
time.sleep(0.2)
for number in range(5):
    if not ctypes.PyDLL(None).fork():
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_child_that_does_nothing_exits(registry_folder: Path) -> None:
    """A child that never uses the registry ends its interpreter at once, with an exit of its own."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", _EXITS, registry_folder],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (["7"] * 5, "")


def test_the_pid_shows_a_fork_where_memory_does_not() -> None:
    """Without memory that the kernel clears, a child is recognised by its pid until it has run the hooks."""
    mark = _OwnByPid()

    def child() -> tuple[bool, bool]:
        before = mark[0]
        mark[0] = True
        return before, mark[0]

    assert mark[0]
    assert in_unseen_fork(child) == (False, True)
    assert mark[0]
