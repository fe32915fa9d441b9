"""Processes and threads to register, forks that report a result, and the ways in which a reader can see an entry."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle
import select
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from adsum import Registry

from ..support import WITHIN, Child, eventually, kill_registrar

T = TypeVar("T")

# A process that forks a given number of children in one process group, so that one signal reaches them all at once. It
# reaps the dead only on request. It imports few modules, which makes each fork cheap.
_CROWD = """
import os, signal, sys
group, pids = 0, []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        while True:
            signal.pause()
    os.setpgid(pid, group)
    group = group or pid
    pids.append(pid)
print(*pids)
try:
    while True:
        word = input()
        if word == "kill":
            os.killpg(group, signal.SIGKILL)
            for pid in pids:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        elif word == "reap":
            for pid in pids:
                os.waitpid(pid, 0)
            pids = []
        print("done")
finally:
    if pids:
        os.killpg(group, signal.SIGKILL)
"""


class Worker:
    """A thread that ends on request, by returning or by raising an error."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self._over.wait()
        if self.error is not None:
            raise self.error

    def end(self, error: BaseException | None = None) -> None:
        self.error = error
        self._over.set()
        self.thread.join()


class Crowd:
    """Many cheap processes of one parent."""

    def __init__(self, parent: Child) -> None:
        self.parent = parent
        self.pids = [int(word) for word in parent.line(60).split()]

    def kill(self) -> None:
        """SIGKILL all of them at once; on return every one is dead, and a zombie."""
        self._do("kill")

    def reap(self) -> None:
        self._do("reap")

    def _do(self, word: str) -> None:
        self.parent.say(word)
        self.parent.expect("done", 60)


@contextlib.contextmanager
def crowd(size: int) -> Iterator[Crowd]:
    with Child(_CROWD, size) as parent:
        made = Crowd(parent)
        yield made
        # The parent ends the remaining children when its input is closed.
        parent.finish()


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps; it is killed and reaped at the end if it still runs."""
    with sleepers(1) as (one,):
        yield one


@contextlib.contextmanager
def sleepers(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    # It inherits no descriptors: the reader of this process's output must see end of file when this process ends.
    nothing = subprocess.DEVNULL
    made = [subprocess.Popen(["sleep", "600"], stdin=nothing, stdout=nothing, stderr=nothing) for _ in range(number)]
    try:
        yield made
    finally:
        for one in made:
            one.kill()
        for one in made:
            one.wait()


def kill_unreaped(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process; on return it is dead, and a zombie until it is reaped."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def no_registrar(folder: Path) -> Iterator[None]:
    """No registrar serves `folder` inside the block, and none can start."""
    while True:
        kill_registrar(folder)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
            return
        except BlockingIOError:
            # A client that needs a registrar has started another one in the meantime.
            continue
        finally:
            os.close(lock)


def ways_to_see(registry: Registry, name: str, capability: str) -> set[str]:
    """The kinds of read that show the entry `name`, the only one with `capability`."""
    seen = {
        "lookup": registry.lookup(name) is not None,
        "in": (registry.namespace, registry.node, name) in registry,
        "iter": any(process_id.local_id == name for process_id in registry),
        "find": bool(registry.find(capability=capability)),
        "list_all": any(entry.process_id.local_id == name for entry in registry.list_all()),
        "choose": registry.choose(capability=capability) is not None,
        "count": registry.count(capability=capability) > 0,
        "count where": registry.count(where=lambda entry: entry.process_id.local_id == name) > 0,
    }
    return {way for way, shows in seen.items() if shows}


ALL_WAYS = {"lookup", "in", "iter", "find", "list_all", "choose", "count", "count where"}


def gone_from_tables(registry: Registry, entries: int = 0) -> None:
    """Wait until the tables themselves, not only reads, have at most this many entries; then audit them."""
    eventually(lambda: registry.stats().entries == entries)
    assert registry.audit() == []


def unseen_fork() -> int:
    """`os.fork` as C code does it: Python does not run the hooks of `os.register_at_fork`.

    It waits until every other thread of this process sleeps. One that waits for the interpreter's lock leaves its
    mark in that lock, and then the interpreter of the child may hang, whatever a library does.
    """
    for _ in range(5):
        eventually(lambda: set(_other_threads()) <= {"S"})
        time.sleep(0.01)
    return int(ctypes.PyDLL(None).fork())


def _other_threads() -> Iterator[str]:
    """The state of each other thread of this process (proc(5))."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            if int(thread) != threading.get_native_id():
                yield Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]


def in_fork(function: Callable[[], T], within: float = 3 * WITHIN, fork: Callable[[], int] = os.fork) -> T:
    """The result of `function` in a forked child of this process; its exception is raised here, as text."""
    reading, writing = os.pipe()
    pid = fork()
    if not pid:
        _report(function, writing)
    os.close(writing)
    try:
        return _outcome(reading, within)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _report(function: Callable[[], object], writing: int) -> None:
    try:
        answer = pickle.dumps((True, function()))
    except BaseException:  # noqa: BLE001 - a fork of the test process must leave only through its report
        answer = pickle.dumps((False, traceback.format_exc()))
    try:
        os.write(writing, answer)
    finally:
        os._exit(0)


def _outcome(reading: int, within: float) -> T:  # type: ignore[type-var] # the pipe carries what `function` gave
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    if not poll.poll(within * 1000):
        raise AssertionError(f"a forked child did not answer within {within:g} s")
    with os.fdopen(os.dup(reading), "rb") as pipe:
        answer = pipe.read()
    if not answer:
        raise AssertionError("a forked child died before it answered")
    fine, value = pickle.loads(answer)
    if not fine:
        raise AssertionError(f"in the forked child:\n{value}")
    return value  # type: ignore[no-any-return]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
