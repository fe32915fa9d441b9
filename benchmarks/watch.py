"""How long from a change until those who watch have it, and what do 500 who watch cost those who write?

Each watcher is a process of its own with one watch, all on the same two cores as the writer and the registrar. The time
runs from the registrar's decision, just before the commit (`registered_at`, in microseconds), until a watcher holds the
event; so it is a little more than the time from the commit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from array import array
from contextlib import ExitStack
from pathlib import Path

import adsum
from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import Script

WATCHERS = 500
ROUNDS = 200
PACE = 0.05
HERD = """
import os, signal, sys, time
from array import array
import adsum
folder, count, place = sys.argv[1], int(sys.argv[2]), sys.argv[3]
children = []
for number in range(count):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    seen = array("q")
    signal.signal(signal.SIGTERM, lambda *_: (open(f"{place}/{number}", "wb").write(seen.tobytes()), os._exit(0)))
    registry = adsum.open(path=folder, timeout=60)
    watch = registry.watch(capability="watched")
    watch._ear.listen()
    open(f"{place}/{number}.ready", "w").close()
    for event in watch:
        now = time.time_ns()
        seen.extend((event.revision, now - int(event.entry.registered_at.timestamp() * 1e6) * 1000))
print("forked", flush=True)
sys.stdin.readline()
for pid in children: os.kill(pid, signal.SIGTERM)
for pid in children: os.waitpid(pid, 0)
print("over", flush=True)
sys.stdin.readline()
"""


class Herd:
    """`count` watchers in processes of their own; `over` ends them and gives what each saw: revision and age."""

    def __init__(self, stack: ExitStack, registry: adsum.Registry, count: int) -> None:
        self._count = count
        self._place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        self._script = stack.enter_context(Script(HERD, str(registry.folder), str(count), str(self._place)))
        self._script.line()
        while len(list(self._place.glob("*.ready"))) < count:
            time.sleep(0.05)
        # Those who were last to come need a moment until they wait.
        time.sleep(3.0)

    def over(self) -> list[dict[int, int]]:
        self._script.say("end")
        self._script.line()
        found = []
        for number in range(self._count):
            values = array("q", (self._place / str(number)).read_bytes())
            found.append(dict(zip(values[::2], values[1::2], strict=True)))
        return found


def to_watchers(count: int) -> Row:
    """One change now and then; how old is it when each of `count` watchers has it?"""
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry())
        registry.register("warm")
        herd = Herd(stack, registry, count)
        for number in range(ROUNDS):
            time.sleep(PACE if count == 1 else 4 * PACE)
            registry.register(f"a-{number}", capabilities={"watched"})
        time.sleep(1.0)
        ages = [age for seen in herd.over() for age in seen.values()]
        if len(ages) != count * ROUNDS:
            raise RuntimeError(f"{len(ages)} events seen instead of {count * ROUNDS}")
    return {"from the commit to": f"{count} watcher{'s' * (count > 1)}", **microseconds(ages)}


def beside_watchers(count: int, pace: float) -> Row:
    """What a registration costs its caller while `count` processes watch it."""
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry())
        registry.register("warm")
        herd = Herd(stack, registry, count) if count else None

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
    return {"register": how, "watchers": count, **microseconds(samples)}


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
    events = [to_watchers(1), to_watchers(WATCHERS)]
    show("a change, microseconds", events)
    writes = [beside_watchers(count, pace) for pace in (0.02, 0.0) for count in (0, WATCHERS)]
    show("a registration beside watchers, microseconds", writes)
    successions = [takeover()]
    show("a takeover, microseconds", successions)
    results: Row = {"events": events, "writes": writes, "successions": successions}
    save("watch", results)
    return results


if __name__ == "__main__":
    main()
