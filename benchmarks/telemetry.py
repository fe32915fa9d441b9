"""What does telemetry cost: with nobody attached, and with a handler attached?

Detached: processes look up the same ids in turn, in many short rounds. Half of them have never imported
`adsum.telemetry`, the others have attached a handler to everything, called, and detached it. What else makes a few
hundredths of a lookup is the same for both, or different in each process: all have had a second thread, for the C
library is slower from then on, and each has made another number of classes, for that decides which methods share a slot
in the interpreter's cache. Attached: one process registers, looks up and searches in turn with a handler attached to
everything and with none, in many short rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import adsum
from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import OWNER, Script

ENTRIES = 1_000
REGISTRIES = 6
PROCESSES = 4
ROUNDS = 20
LOOKUPS = 20_000

LOOKER = """
import sys, threading, time, adsum
other = threading.Thread(target=int)
other.start()
other.join()
registry = adsum.open(path=sys.argv[1], timeout=60)
ids = [f"agent-{n % int(sys.argv[2]):07}" for n in range(int(sys.argv[3]))]
if sys.argv[4] == "detached":
    handler = lambda event, measurements, attributes: None
    adsum.telemetry.attach(handler)
    for id in ids[:1000]:
        registry.lookup(id)
    registry.find(limit=1)
    adsum.telemetry.detach(handler)
for n in range(int(sys.argv[5])):
    hasattr(type("Another", (), {})(), "nothing")
assert ("adsum.telemetry" in sys.modules) == (sys.argv[4] == "detached")
def measure():
    begin = time.perf_counter_ns()
    for id in ids:
        registry.lookup(id)
    return (time.perf_counter_ns() - begin) / len(ids)
for _ in range(5):
    measure()
print("ready", flush=True)
for _ in sys.stdin:
    print(measure(), flush=True)
"""


def detached() -> list[Row]:
    """Nanoseconds for each lookup, without the module and with it."""
    found: dict[str, list[float]] = {"never imported": [], "detached": []}
    for number in range(REGISTRIES):
        for name, times in _lookups(number).items():
            found[name] += times
    return [
        {"lookup": name, "ns": statistics.mean(times), "quickest process": min(times), "slowest process": max(times)}
        for name, times in found.items()
    ]


def _lookups(classes: int) -> dict[str, list[float]]:
    """By kind, what a lookup takes in each process: the median of its rounds."""
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry())
        path = str(registry.folder)
        owner = stack.enter_context(Script(OWNER, path, "0", str(ENTRIES), str(ENTRIES)))
        owner.line()
        lookers = [
            (
                name,
                stack.enter_context(Script(LOOKER, path, str(ENTRIES), str(LOOKUPS), name, str(classes + 7 * number))),
            )
            for number in range(PROCESSES)
            for name in ("never imported", "detached")
        ]
        for _, looker in lookers:
            looker.line()
        rounds: dict[Script, list[float]] = {looker: [] for _, looker in lookers}
        for number in range(ROUNDS):
            # Each kind goes first in every other round.
            for _, looker in lookers if number % 2 else reversed(lookers):
                looker.say("go")
                rounds[looker].append(float(looker.line()))
        return {
            kind: [statistics.median(rounds[looker]) for name, looker in lookers if name == kind]
            for kind in ("never imported", "detached")
        }


def _ignore(event: str, measurements: dict[str, float], attributes: dict[str, str]) -> None:
    """A handler that does nothing, so that what is measured is adsum's."""


def attached() -> list[Row]:
    """Each call with nobody attached and with a handler of everything, in turn."""
    with fresh_registry() as registry:
        registry.register_many([(f"member-{n}", {"capabilities": {f"skill-{n % 10}"}}) for n in range(100)])
        calls: dict[str, tuple[Callable[[Any], object], Callable[[int], list[Any]]]] = {
            "register": (lambda id: registry.register(id), lambda round: [f"new-{round}-{n}" for n in range(100)]),
            "lookup": (lambda id: registry.lookup(id), lambda _: [f"member-{n % 100}" for n in range(2000)]),
            "find, 10 matches": (lambda skill: registry.find(capability=skill), lambda _: ["skill-1"] * 300),
            "count": (lambda skill: registry.count(capability=skill), lambda _: ["skill-1"] * 300),
        }
        rows = []
        for name, (call, arguments) in calls.items():
            samples: dict[bool, list[int]] = {False: [], True: []}
            for number in range(2 * ROUNDS):
                attach = bool(number % 2)
                if attach:
                    adsum.telemetry.attach(_ignore)
                timed(call, arguments(number)[:10])
                samples[attach] += timed(call, arguments(number)[10:])
                adsum.telemetry.detach(_ignore)
            without, measured = microseconds(samples[False]), microseconds(samples[True])
            rows.append(
                {
                    "call": name,
                    "detached p50": without["p50"],
                    "attached p50": measured["p50"],
                    "added p50": measured["p50"] - without["p50"],
                    "added p90": measured["p90"] - without["p90"],
                }
            )
        return rows


def main() -> Row:
    lookups = detached()
    show("lookup with nobody attached", lookups)
    never, after = lookups
    ratio = after["ns"] / never["ns"]
    print(f"\n  detached against never imported: {ratio:.3f} times the time")
    rows = attached()
    show("calls with a handler of everything, microseconds", rows)
    results: Row = {"detached": lookups, "ratio": ratio, "rows": rows}
    save("telemetry", results)
    return results


if __name__ == "__main__":
    main()
