"""How many writes with the default bound end in `Timeout` because the machine had no time for them?

Eight processes register and unregister in a loop, together 24,000 times: alone, beside four busy processes for each
processor, and with the registrar killed again and again as well.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import adsum
from harness import Row, fresh_registry, save, show, stop
from processes import Script

PROCESSES = 8
EACH = 3_000
BUSY_PER_PROCESSOR = 4
KILL_SECONDS = 1.0
WRITER = """
import sys, adsum, time
registry = adsum.open(path=sys.argv[1])
me, n = sys.argv[2], int(sys.argv[3])
failed, slowest = {}, 0.0
print("ready", flush=True)
sys.stdin.readline()
for i in range(n):
    began = time.perf_counter()
    try:
        registry.register(f"p{me}-{i}", capabilities={f"skill-{i % 100}"})
    except adsum.AdsumError as error:
        failed[error.reason] = failed.get(error.reason, 0) + 1
    slowest = max(slowest, time.perf_counter() - began)
print(failed.get("timeout", 0), sum(failed.values()), slowest, flush=True)
"""
BUSY = "print('ready', flush=True)\nwhile True: pass"


def measure(name: str, busy: int, *, kill: bool) -> Row:
    with fresh_registry() as registry, ExitStack() as stack:
        registry.register("first")
        burners = [stack.enter_context(Script(BUSY)) for _ in range(busy)]
        writers = [
            stack.enter_context(Script(WRITER, str(registry.folder), str(n), str(EACH))) for n in range(PROCESSES)
        ]
        for script in (*burners, *writers):
            script.line()
        for writer in writers:
            writer.say("go")
        kills = _kill_until_registered(registry, 1 + PROCESSES * EACH * 9 // 10) if kill else 0
        lines = [writer.line().split() for writer in writers]
        return {
            "registrations": name,
            "number": PROCESSES * EACH,
            "kills of the registrar": kills,
            "timeouts": sum(int(timeouts) for timeouts, _, _ in lines),
            "other errors": sum(int(failed) - int(timeouts) for timeouts, failed, _ in lines),
            "slowest, seconds": max(float(slowest) for _, _, slowest in lines),
        }


def _kill_until_registered(registry: adsum.Registry, entries: int) -> int:
    kills = 0
    while len(registry) < entries:
        time.sleep(KILL_SECONDS)
        if (pid := registry.stats().registrar_pid) is not None:
            stop(pid, signal.SIGKILL)
            kills += 1
    return kills


def main() -> Row:
    busy = BUSY_PER_PROCESSOR * (os.cpu_count() or 1)
    rows = [
        measure("by 8 processes", 0, kill=False),
        measure(f"beside {busy} busy processes", busy, kill=False),
        measure(f"beside {busy} busy processes, registrar killed", busy, kill=True),
    ]
    show("writes with the default bound", rows)
    results: Row = {"rows": rows, "bound": adsum.Limits().registration_timeout, "adsum": adsum.__version__}
    save("timeouts", results)
    return results


if __name__ == "__main__":
    main()
