"""How long from a commit until those who watch have the change, and what do 500 who watch cost those who write?

Each watcher is a process of its own with one watch, all on the same two cores as the writer and the registrar. The time
runs from the moment after the commit, which this benchmark has its registrar note, until a watcher holds the event.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import adsum
from adsum._registrar.start import serve
from harness import Row, fresh_registry, microseconds, save, show, stop, timed
from processes import Script

WATCHERS = 500
ROUNDS = 200
# Seconds between two changes: processors asleep and caches cold, as in most systems, and both warm.
COLD, WARM = 0.05, 0.003
HERD = """
import gc, os, signal, sys, time
from array import array
import adsum
def report(path, seen):
    times = array("q")
    for event, now in seen:
        times.extend((event.revision, now))
    with open(path, "wb") as file:
        file.write(times.tobytes())
folder, count, place = sys.argv[1], int(sys.argv[2]), sys.argv[3]
children = []
# As the documentation of gc says for those who fork; else all watchers would collect, and copy, at the same event.
gc.disable()
gc.freeze()
for number in range(count):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    gc.enable()
    # Processes that do not come from one fork collect at different events: each begins with another count of objects.
    kept = [[] for _ in range(number)]
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: (report(f"{place}/{number}", seen), os._exit(0)))
    registry = adsum.open(path=folder, timeout=60)
    watch = registry.watch(capability="watched")
    watch._waiter.listen()
    open(f"{place}/{number}.ready", "w").close()
    for event in watch:
        seen.append((event, time.monotonic_ns()))
print("forked", flush=True)
sys.stdin.readline()
for pid in children: os.kill(pid, signal.SIGTERM)
for pid in children: os.waitpid(pid, 0)
print("over", flush=True)
sys.stdin.readline()
"""


class Herd:
    """`watchers` in processes of their own; `over` ends them and gives when each saw which revision."""

    def __init__(self, stack: ExitStack, registry: adsum.Registry, watchers: int) -> None:
        self._watchers = watchers
        self._place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        self._script = stack.enter_context(Script(HERD, str(registry.folder), str(watchers), str(self._place)))
        self._script.line()
        while len(list(self._place.glob("*.ready"))) < watchers:
            time.sleep(0.05)
        # Those who were last to come need a moment until they wait.
        time.sleep(3.0)

    def over(self) -> list[dict[int, int]]:
        self._script.say("end")
        self._script.line()
        found = []
        for number in range(self._watchers):
            values = array("q", (self._place / str(number)).read_bytes())
            found.append(dict(zip(values[::2], values[1::2], strict=True)))
        return found


@contextmanager
def noted_commits(folder: Path) -> Iterator[memoryview]:
    """A registrar for `folder` that notes when it has committed: nanoseconds, one place for each commit."""
    times = mmap.mmap(-1, 8 * 16 * ROUNDS)
    noted = memoryview(times).cast("q")
    ready, serving = os.pipe()
    folder.mkdir(mode=0o700)
    pid = os.fork()
    if not pid:
        commits = count()

        def note(step: str) -> None:
            if step == "after_commit":
                noted[next(commits)] = time.monotonic_ns()

        serve(folder, adsum.Limits(), ready=lambda: os.close(serving), failpoint=note)
        os._exit(0)
    os.close(serving)
    os.read(ready, 1)
    os.close(ready)
    try:
        yield noted
    finally:
        stop(pid)
        os.waitpid(pid, 0)


def to_watchers(watchers: int, pace: float) -> Row:
    """One change now and then; how long until each of the watchers has it?"""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))) / "registry"
        noted = stack.enter_context(noted_commits(folder))
        registry = stack.enter_context(adsum.open(path=folder, timeout=60))
        registry.register("warm")
        herd = Herd(stack, registry, watchers)
        for number in range(ROUNDS):
            time.sleep(pace)
            registry.register(f"a-{number}", capabilities={"watched"})
        time.sleep(1.0)
        # One change in each commit, so the commits are numbered as the revisions are, from 1.
        times = [seen - noted[revision - 1] for one in herd.over() for revision, seen in one.items()]
        if len(times) != watchers * ROUNDS:
            raise RuntimeError(f"{len(times)} events seen instead of {watchers * ROUNDS}")
    return {"watchers": watchers, "a change each": f"{pace * 1000:g} ms", **microseconds(times)}


def beside_watchers(watchers: int, pace: float) -> Row:
    """What a registration costs its caller while `watchers` processes watch it."""
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry())
        registry.register("warm")
        herd = Herd(stack, registry, watchers) if watchers else None

        def register(number: int) -> None:
            registry.register(f"a-{number}", capabilities={"watched"})

        if pace:
            samples = []
            for number in range(ROUNDS):
                time.sleep(pace)
                samples += timed(register, [number])
        else:
            samples = timed(register, list(range(3_000)))
        if herd is not None:
            herd.over()
    how = f"one each {pace * 1000:g} ms" if pace else "one after the other"
    return {"register": how, "watchers": watchers, **microseconds(samples)}


def takeover(rounds: int = 100) -> Row:
    """From the holder's SIGKILL until the id is its successor's, seen by a third process."""
    successor = """
import sys, adsum
registry = adsum.open(path=sys.argv[1], timeout=60)
for line in sys.stdin:
    future = registry.stand_by("leader")
    print("stands by", flush=True)
    registration = future.result()
    print("leads", flush=True)
    sys.stdin.readline()
    registration.unregister()
    print("done", flush=True)
"""
    samples: list[int] = []
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry())
        second = stack.enter_context(Script(successor, str(registry.folder)))
        for _ in range(rounds):
            with subprocess.Popen(["sleep", "60"]) as holder:
                registry.register("leader", holder)
                second.say("go")
                second.line()
                time.sleep(0.005)
                killed = time.monotonic_ns()
                os.kill(holder.pid, signal.SIGKILL)
                while (entry := registry.lookup("leader")) is None or entry.pid != second.pid:
                    pass
                samples.append(time.monotonic_ns() - killed)
                holder.wait()
            second.line()
            second.say("stop")
            second.line()
    return {"from the holder's SIGKILL to": "its successor's entry", **microseconds(samples)}


def main() -> Row:
    events = [to_watchers(1, COLD), to_watchers(1, WARM), to_watchers(WATCHERS, 4 * COLD)]
    show("from a commit until a watcher has the event, microseconds", events)
    writes = [beside_watchers(watchers, pace) for pace in (COLD, 0.0) for watchers in (0, WATCHERS)]
    show("a registration beside watchers, microseconds", writes)
    successions = [takeover()]
    show("a takeover, microseconds", successions)
    results: Row = {"events": events, "writes": writes, "successions": successions}
    save("watch", results)
    return results


if __name__ == "__main__":
    main()
