"""What does telemetry cost: with no handler attached, and with one?

Detached: one process looks up the same ids in many short rounds, in turn with `Registry.lookup` as it is, after a
handler was attached to everything and detached, and with the same function compiled without the check of its instrument
point. Attached: one process registers, looks up and searches in turn with a handler attached to everything and with
none, in many short rounds.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import textwrap
import time
from collections.abc import Callable
from types import MethodType
from typing import Any

import adsum
from adsum import _reads
from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import OWNER, Script

ENTRIES = 1_000
REGISTRIES = 6
PAIRS = 400
LOOKUPS = 2_000
ROUNDS = 20


def detached() -> tuple[list[Row], float]:
    """Nanoseconds for each lookup without the check and with it, and the second as a multiple of the first."""
    found: dict[str, list[float]] = {"without the check": [], "with the check": []}
    for _ in range(REGISTRIES):
        with (
            fresh_registry() as registry,
            Script(OWNER, str(registry.folder), "0", str(ENTRIES), str(ENTRIES)) as owner,
        ):
            owner.line()
            _attach_and_detach(registry)
            calls = {
                "without the check": MethodType(_without_check(_reads.RegistryReads.lookup), registry),
                "with the check": MethodType(_reads.RegistryReads.lookup, registry),
            }
            for call in calls.values():
                _nanoseconds(call)
            for number in range(PAIRS):
                # Each goes first in every other pair.
                for name in calls if number % 2 else reversed(calls):
                    found[name].append(_nanoseconds(calls[name]))
    rows: list[Row] = [
        {"lookup": name, "ns": statistics.median(times), "quickest round": min(times), "slowest round": max(times)}
        for name, times in found.items()
    ]
    # Pair by pair: what else the machine does changes more slowly than that.
    pairs = zip(*found.values(), strict=True)
    return rows, statistics.median(checked / unchecked for unchecked, checked in pairs)


def _attach_and_detach(registry: adsum.Registry) -> None:
    adsum.telemetry.attach(_ignore)
    for number in range(1000):
        registry.lookup(f"agent-{number:07}")
    adsum.telemetry.detach(_ignore)


def _without_check(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as it would be without the statement that asks for its instrument point."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    checks = [one for one in definition.body if isinstance(one, ast.If) and "instrument" in ast.unparse(one.test)]
    assert len(checks) == 1
    definition.body.remove(checks[0])
    names: dict[str, Any] = {}
    exec(compile(tree, __file__, "exec", dont_inherit=True), vars(_reads), names)
    unchecked: Callable[..., Any] = names[function.__name__]
    return unchecked


def _nanoseconds(look: Callable[[str], object]) -> float:
    ids = [f"agent-{number % ENTRIES:07}" for number in range(LOOKUPS)]
    # Processor time, so that other processes of the machine count for less.
    begin = time.thread_time_ns()
    for id in ids:
        look(id)
    return (time.thread_time_ns() - begin) / LOOKUPS


def _ignore(event: str, measurements: dict[str, float], attributes: dict[str, str]) -> None:
    """A handler that does nothing, so that what is measured is adsum's."""


def attached() -> list[Row]:
    """Each call with no handler attached and with a handler of everything, in turn."""
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
    lookups, ratio = detached()
    show("lookup with no handler attached", lookups)
    print(f"\n  with the check against without: {ratio:.3f} times the time")
    rows = attached()
    show("calls with a handler of everything, microseconds", rows)
    results: Row = {"detached": lookups, "ratio": ratio, "rows": rows}
    save("telemetry", results)
    return results


if __name__ == "__main__":
    main()
