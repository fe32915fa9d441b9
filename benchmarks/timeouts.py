"""How many writes with the default bound end in `Timeout` because the machine had no time for them?

``timeouts.py [--busy N] [--each N] [--kill-seconds S]``. Eight processes register in a loop, together 24,000 times:
alone, beside busy processes (four for each processor by default), with the registrar killed again and again, and with
both. Only a run without options is saved.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
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
# Its entries stay, so that the number of entries says how far all have come.
sys.stdin.readline()
"""
BUSY = "print('ready', flush=True)\nwhile True: pass"


def measure(name: str, busy: int, each: int = EACH, *, kill_seconds: float | None = None) -> Row:
    """One row; a registrar lives for `kill_seconds`, or to the end."""
    with fresh_registry() as registry, ExitStack() as stack:
        registry.register("first")
        burners = [stack.enter_context(Script(BUSY)) for _ in range(busy)]
        writers = [
            stack.enter_context(Script(WRITER, str(registry.folder), str(n), str(each))) for n in range(PROCESSES)
        ]
        for script in (*burners, *writers):
            script.line()
        for writer in writers:
            writer.say("go")
        most = 1 + PROCESSES * each * 9 // 10
        kills = _kill_until_registered(registry, most, kill_seconds) if kill_seconds is not None else 0
        lines = [writer.line().split() for writer in writers]
        return {
            "registrations": name,
            "number": PROCESSES * each,
            "kills of the registrar": kills,
            "timeouts": sum(int(timeouts) for timeouts, _, _ in lines),
            "other errors": sum(int(failed) - int(timeouts) for timeouts, failed, _ in lines),
            "slowest, seconds": max(float(slowest) for _, _, slowest in lines),
        }


def _kill_until_registered(registry: adsum.Registry, entries: int, seconds: float) -> int:
    """Kill one registrar after the other; to the end, also where so many writes fail that the entries stay fewer."""
    kills = looks = seen = 0
    while seen < entries and looks < 20:
        time.sleep(seconds)
        seen, looks = (found, 0) if (found := len(registry)) > seen else (seen, looks + 1)
        if (pid := registry.stats().registrar_pid) is not None:
            stop(pid, signal.SIGKILL)
            kills += 1
    return kills


def main(busy: int = BUSY_PER_PROCESSOR * (os.cpu_count() or 1), each: int = EACH, kills: float = KILL_SECONDS) -> Row:
    rows = [
        measure("by 8 processes", 0, each),
        measure(f"beside {busy} busy processes", busy, each),
        measure("registrar killed", 0, each, kill_seconds=kills),
        measure(f"beside {busy} busy processes, registrar killed", busy, each, kill_seconds=kills),
    ]
    show("writes with the default bound", rows)
    return {"rows": rows, "bound": adsum.Limits().registration_timeout, "adsum": adsum.__version__}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=BUSY_PER_PROCESSOR * (os.cpu_count() or 1))
    parser.add_argument("--each", type=int, default=EACH, help="registrations of each of the eight processes")
    parser.add_argument("--kill-seconds", type=float, default=KILL_SECONDS, help="how long a registrar lives")
    return parser.parse_args()


if __name__ == "__main__":
    given = _options()
    results = main(given.busy, given.each, given.kill_seconds)
    if not sys.argv[1:]:
        save("timeouts", results)
