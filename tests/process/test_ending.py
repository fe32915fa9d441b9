"""A member's process that is ending: readers find it gone before its pidfd says so, and its id can be registered."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adsum import AlreadyRegistered, Entry, Registry
from adsum._os import death_watch, liveness
from adsum._os.death_watch import ENDING_SECONDS, DeathWatch
from adsum._os.ending import is_ending
from adsum._os.identity import has_exited, identify

from ..support import WITHIN, Agent, eventually

# Touches so many pages of 4 KiB, which the kernel has to free one by one when the process ends.
FILL = """
import mmap
memory = mmap.mmap(-1, {pages} * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range({pages}):
    memory[page * mmap.PAGESIZE] = 1
"""


def killed(registry: Registry, folder: Path, pages: int) -> tuple[Agent, int]:
    """A member "agent" with so much memory, which was found and is killed now; and its pidfd."""
    agent = Agent(folder)
    agent.do(FILL.format(pages=pages))
    agent.do("registry.register('agent', capabilities=['talking'])")
    assert registry.lookup("agent") is not None
    assert len(registry.find(capability="talking")) == 1
    pidfd = os.pidfd_open(agent.pid)
    os.kill(agent.pid, signal.SIGKILL)
    return agent, pidfd


def test_a_member_is_gone_while_the_kernel_frees_its_memory(registry: Registry, registry_folder: Path) -> None:
    """No read returns a process that runs no code any more, although its pidfd is not readable for a while. From the
    first such read on, no other read of this reader returns it."""
    early = 0
    for _ in range(5):
        agent, pidfd = killed(registry, registry_folder, 32_768)
        with agent:
            while registry.lookup("agent") is not None:
                pass
            found, counted = registry.find(capability="talking"), registry.count(capability="talking")
            is_early = not has_exited(pidfd)
            os.close(pidfd)
        if is_early:
            assert (found, counted) == ([], 0)
            early += 1
    assert early


def test_a_reader_that_comes_later_finds_it_gone_too(registry: Registry, registry_folder: Path) -> None:
    """One that reads the entry for the first time meets a broken lifeline, and asks whether the process is ending."""
    early = 0
    with Agent(registry_folder) as other:
        for _ in range(5):
            agent, pidfd = killed(registry, registry_folder, 32_768)
            with agent:
                while registry.lookup("agent") is not None:
                    pass
                found = other.value("registry.lookup('agent'), registry.find(capability='talking')")
                is_early = not has_exited(pidfd)
                os.close(pidfd)
            if is_early:
                assert found == (None, [])
                early += 1
    assert early


def test_an_id_that_a_reader_finds_free_can_be_registered(registry: Registry, registry_folder: Path) -> None:
    """The registrar waits for the end of a holder that is ending, `ENDING_SECONDS` at most, so no caller is refused
    before for a member that is gone; and none after the kernel has ended it.

    A holder that was killed, and has not begun to exit, looks alive for a few instructions: one in a thousand is seen
    so, or several where the processor is given to others at that moment."""
    seed = random.randrange(2**32)
    print("seed", seed)
    numbers = random.Random(seed)
    refused_early = 0
    for _ in range(15):
        agent, pidfd = killed(registry, registry_folder, numbers.choice([1, 100, 1_000, 4_000]))
        with agent:
            while registry.lookup("agent") is not None:
                pass
            took, holder = _registered(registry, gets=numbers.random() < 0.5)
            if holder is not None:
                assert holder.pid == agent.pid
                refused_early += took < ENDING_SECONDS
                eventually(lambda pidfd=pidfd: has_exited(pidfd), WITHIN)  # type: ignore[misc]
                assert _registered(registry)[1] is None
        os.close(pidfd)
        registry.unregister("agent")
    assert refused_early <= 2


def _registered(registry: Registry, *, gets: bool = False) -> tuple[float, Entry | None]:
    """Register this process as "agent"; how long that took, and the holder's entry where it was refused."""
    began = time.monotonic()
    if gets:
        entry, is_new = registry.get_or_register("agent")
        return time.monotonic() - began, None if is_new else entry
    try:
        registry.register("agent")
    except AlreadyRegistered as error:
        return time.monotonic() - began, error.entry
    return time.monotonic() - began, None


def test_a_process_that_has_ended_whole_is_not_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was alive when the registrar asked first, and is gone from /proc when it asks whether it is ending."""
    watch = DeathWatch()
    with subprocess.Popen(["sleep", "60"]) as child:
        owner = identify(child.pid)
        assert owner is not None
        assert watch.watch(owner)
        assert not watch.ends_now(owner)

        def ends_meanwhile(_pid: int) -> bool:
            child.kill()
            child.wait()
            return is_ending(child.pid)

        monkeypatch.setattr(death_watch, "is_ending", ends_meanwhile)
        assert watch.ends_now(owner)
    watch.close()


def test_a_holder_that_takes_long_to_end_holds_up_nobody_for_long(registry: Registry, registry_folder: Path) -> None:
    """The registrar waits for it once, for 20 ms; later registrations are refused at once until it has ended."""
    agent, pidfd = killed(registry, registry_folder, 131_072)
    with agent:
        refused: list[Entry | None] = []
        while not has_exited(pidfd):
            try:
                registry.register("agent").unregister()
            except AlreadyRegistered as error:
                refused.append(error.entry)
        assert {entry and entry.pid for entry in refused} <= {agent.pid}
        registry.register("agent")
        os.close(pidfd)


def test_a_member_that_outlives_its_lifeline_is_not_looked_at_for_ever(
    registry: Registry, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that registered ends, and the process goes on. After a moment no read looks at it in /proc: neither a
    lookup nor a search, nor a choice from a result that was kept before."""
    looks: list[int] = []

    def look(pid: int) -> bool:
        looks.append(pid)
        return is_ending(pid)

    monkeypatch.setattr(liveness, "is_ending", look)
    with Agent(registry_folder) as agent:
        agent.do("import threading; go = threading.Event()")
        agent.do("def work(): registry.register('agent', capabilities=['talking']); go.wait()")
        agent.do("thread = threading.Thread(target=work); thread.start()")
        eventually(lambda: registry.count(capability="talking") == 1)
        assert registry.choose(capability="talking")
        agent.do("go.set(); thread.join()")
        eventually(lambda: registry.lookup("agent") is not None and bool(looks))
        until = time.monotonic() + 2 * liveness.ENDING_SECONDS
        while time.monotonic() < until:
            assert registry.choose(capability="talking")
        looks.clear()
        for _ in range(3):
            assert registry.lookup("agent") is not None
            assert len(registry.find(capability="talking")) == 1
            assert registry.choose(capability="talking")
        assert looks == []


def test_a_living_process_is_never_ending() -> None:
    """Threads that begin and end all the time, the first of them too, and an exec from any of them, which kills the
    others: the process lives, and is never taken for one that is ending."""
    program = """
import ctypes, os, sys, threading, time
def churn(deadline):
    while time.monotonic() < deadline:
        threads = [threading.Thread(target=int) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    left = int(sys.argv[1]) - 1
    if left:
        os.execv(sys.executable, [sys.executable, '-S', '-c', os.environ['PROGRAM'], str(left)])
    print('done', flush=True)
    time.sleep(600)
threading.Thread(target=churn, args=(time.monotonic() + 0.1,)).start()
if int(sys.argv[1]) % 2:
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", program, "8"], stdout=subprocess.PIPE, env={**os.environ, "PROGRAM": program}
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        asked, heard = 0, b""
        try:
            while heard != b"done\n":
                assert process.poll() is None
                assert not is_ending(process.pid)
                asked += 1
                heard += process.stdout.read() or b""
        finally:
            process.kill()
        assert asked > 100
        eventually(lambda: is_ending(process.pid))


def test_what_is_not_known_is_not_ending() -> None:
    """A process that is not there, this one, and one that is stopped."""
    assert not is_ending(2**22 + 1)
    assert not is_ending(os.getpid())
    with subprocess.Popen(["sleep", "600"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not is_ending(process.pid)
        process.kill()
