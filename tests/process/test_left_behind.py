"""No entry is left without a holder, whatever interrupts a registration or its end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from pathlib import Path
from types import FrameType

import adsum
from adsum import Registry

from ..support import Child, eventually, stopped


class Interrupted(BaseException):
    """Raised by the signal handler of these tests."""


def test_a_thread_that_ends_while_the_registrar_is_stopped(registry: Registry, registry_folder: Path) -> None:
    """The end of a thread is reported until the registrar acknowledges it, however long the registrar was stopped."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    registry.register("thread", thread)
    with stopped(registry_folder):
        over.set()
        thread.join()
        # Longer than the registry's own timeout, which must not apply here.
        threading.Event().wait(0.3)
    eventually(lambda: registry.lookup("thread") is None)


async def test_tasks_that_end_all_at_once(registry_folder: Path) -> None:
    """A thousand tasks that end at once leave a thousand free ids."""
    over = asyncio.Event()
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        tasks = [asyncio.create_task(over.wait()) for _ in range(1000)]
        for number, task in enumerate(tasks):
            await registry.register(f"task-{number}", task)
        over.set()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(eventually, lambda: not len(registry))


def _interrupted(folder: str, seed: str) -> None:
    """Register and be interrupted, again and again; prints the entries that are left."""
    registry = adsum.open(path=folder, timeout=10)
    registry.register("warm").unregister()
    at_random = random.Random(int(seed))

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    signal.signal(signal.SIGALRM, handler)
    for number in range(300):
        held = None
        try:
            signal.setitimer(signal.ITIMER_REAL, at_random.uniform(0.00002, 0.0004))
            held = registry.register(f"job-{number}")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if held is not None:
            held.unregister()
    eventually(lambda: not len(registry))
    print("nothing")


def test_interrupted_registrations_are_taken_back(registry_folder: Path) -> None:
    """Ctrl-C in the middle of a registration leaves no entry without a holder."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with Child(_interrupted, registry_folder, str(seed)) as child:
        assert child.line(60) == "nothing"


def test_a_child_that_leaves_the_block(registry: Registry) -> None:
    """A forked child that leaves its parent's `with` block does not end the parent's entry."""
    try:
        with registry.register("parent"):
            pid = os.fork()
            if not pid:
                raise Interrupted
            os.waitpid(pid, 0)
            assert registry.lookup("parent") is not None
    except Interrupted:
        # Only the child comes here, out of the block.
        os._exit(0)
    assert registry.lookup("parent") is None
