"""How long from SIGKILL until no lookup finds the dead process, until its entry is gone, and until a new registrar
serves?

This process, which kills and then reads without pause, has a processor of its own; its victims and the registrar share
the others. On one processor with a process that never sleeps, a process that is killed waits for a tick of the
scheduler, 4 ms, before it can end. A victim that registered itself is a Python process, which takes the kernel longer
to end than `sleep`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import adsum
from harness import Row, fresh_registry, microseconds, save, show, stop
from processes import Script

ROUNDS = 300
MEMBER = """
import sys, adsum
registry = adsum.open(path=sys.argv[1], timeout=60)
registry.register(sys.argv[2])
print("registered", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def reader_alone() -> Iterator[set[int]]:
    """This process on a processor of its own, where there are two; gives those for the others."""
    processors = os.sched_getaffinity(0)
    others = processors - {min(processors)} or processors
    os.sched_setaffinity(0, {min(processors)})
    try:
        yield others
    finally:
        os.sched_setaffinity(0, processors)


def _place(pid: int, processors: set[int]) -> None:
    """Every thread of a process on these processors; it inherited this process's own."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), processors)


def kill_to_gone(registry: adsum.Registry, others: set[int]) -> list[Row]:
    unseen: list[int] = []
    cleaned: list[int] = []
    registry.register("bystander")
    for number in range(ROUNDS):
        # The victim is reaped only after the round, so the benchmark measures a zombie, as is usual.
        with subprocess.Popen(["sleep", "60"]) as victim:
            _place(victim.pid, others)
            name = f"victim-{number}"
            registry.register(name, victim, capabilities={"victim"})
            if registry.lookup(name) is None:
                raise RuntimeError("the victim is not there")
            time.sleep(0.002)
            killed = time.monotonic_ns()
            os.kill(victim.pid, signal.SIGKILL)
            while registry.lookup(name) is not None:
                pass
            unseen.append(time.monotonic_ns() - killed)
            while _newest(registry) != name:
                pass
            cleaned.append(time.monotonic_ns() - killed)
            victim.wait()
    return [
        {"from SIGKILL to": "lookup finds nothing", **microseconds(unseen)},
        {"from SIGKILL to": "entry removed from the tables", **microseconds(cleaned)},
    ]


def member_killed(registry: adsum.Registry, others: set[int], rounds: int = 100) -> list[Row]:
    """From the SIGKILL of a member that registered itself; `ended` is when its pidfd is readable."""
    unseen: list[int] = []
    ended: list[int] = []
    for number in range(rounds):
        with Script(MEMBER, str(registry.folder), f"member-{number}") as victim:
            victim.line()
            _place(victim.pid, others)
            if registry.lookup(f"member-{number}") is None:
                raise RuntimeError("the victim is not there")
            pidfd = select.poll()
            pidfd.register(descriptor := os.pidfd_open(victim.pid), select.POLLIN)
            time.sleep(0.002)
            killed = time.monotonic_ns()
            os.kill(victim.pid, signal.SIGKILL)
            while registry.lookup(f"member-{number}") is not None:
                pass
            unseen.append(time.monotonic_ns() - killed)
            pidfd.poll()
            ended.append(time.monotonic_ns() - killed)
            os.close(descriptor)
    return [
        {"from SIGKILL to": "lookup finds nothing of a member that registered itself", **microseconds(unseen)},
        {"from SIGKILL to": "the pidfd of that member is readable", **microseconds(ended)},
    ]


def _newest(registry: adsum.Registry) -> str:
    newest = registry.departures(1)
    return newest[0].entry.process_id.local_id if newest else ""


def registrar_killed(rounds: int = 200) -> list[Row]:
    samples: list[int] = []
    with fresh_registry() as registry:
        registry.register("survivor")
        for number in range(rounds):
            pid = registry.stats().registrar_pid
            if pid is None:
                raise RuntimeError("no registrar")
            stop(pid, signal.SIGKILL)
            begin = time.perf_counter_ns()
            registry.update("survivor", custom={"round": number})
            samples.append(time.perf_counter_ns() - begin)
    return [{"from the registrar's SIGKILL to": "next acknowledged write", **microseconds(samples)}]


def many_at_once(count: int = 1000) -> list[Row]:
    """All die in one moment: the whole cleanup, and its share for each."""
    with fresh_registry() as registry:
        victims = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
        try:
            for number, victim in enumerate(victims):
                registry.register(f"victim-{number}", victim)
            begin = time.monotonic_ns()
            for victim in victims:
                victim.kill()
            while registry.stats().entries:
                time.sleep(0.001)
            whole = time.monotonic_ns() - begin
        finally:
            for victim in victims:
                victim.kill()
                victim.wait()
    return [{"mass death": f"{count:,} processes", "all gone after, ms": whole / 1e6, "each, us": whole / 1000 / count}]


def main() -> Row:
    with fresh_registry() as registry:
        # Its registrar starts now, and not on this processor alone.
        registry.register("first")
        with reader_alone() as others:
            deaths = [*kill_to_gone(registry, others), *member_killed(registry, others)]
    show("a death, microseconds", deaths)
    restarts = registrar_killed()
    show("a registrar's death, microseconds", restarts)
    mass = many_at_once()
    show("many deaths", mass)
    results: Row = {"deaths": deaths, "restarts": restarts, "mass": mass}
    save("death", results)
    return results


if __name__ == "__main__":
    main()
