"""What every benchmark shares: registries, timing, percentiles, versions, results."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import adsum

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def microseconds(samples: list[int]) -> Row:
    """Percentiles of durations in nanoseconds, as microseconds."""
    ordered = sorted(samples)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1000

    return {
        "n": len(ordered),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p99.9": at(0.999),
        "max": ordered[-1] / 1000,
    }


def in_milliseconds(seconds: list[float]) -> Row:
    """Percentiles."""
    row = microseconds([int(one * 1e9) for one in seconds])
    return {"n": row["n"], **{f"{name}, ms": row[name] / 1000 for name in ("p50", "p99", "max")}}


def timed(call: Callable[[Any], object], arguments: list[Any]) -> list[int]:
    """The duration of each call in nanoseconds, the clock's own cost included (about 50 ns)."""
    clock = time.perf_counter_ns
    samples = [0] * len(arguments)
    gc.collect()
    gc.disable()
    try:
        for place, argument in enumerate(arguments):
            begin = clock()
            call(argument)
            samples[place] = clock() - begin
    finally:
        gc.enable()
    return samples


@contextlib.contextmanager
def fresh_registry(**limits: Any) -> Iterator[adsum.Registry]:
    """A registry of its own in memory, gone afterwards with its registrar."""
    home = Path(tempfile.mkdtemp(prefix="adsum-bench-", dir="/dev/shm"))
    registry = adsum.open(path=home / "registry", timeout=60, limits=adsum.Limits(**limits))
    try:
        yield registry
    finally:
        registrar = registry.stats().registrar_pid
        registry.close()
        if registrar is not None:
            stop(registrar)
        shutil.rmtree(home)


def stop(pid: int, how: signal.Signals = signal.SIGTERM) -> None:
    """End a process that is ours, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, how)
            import select

            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(10_000)
        finally:
            os.close(pidfd)


def fill(
    registry: adsum.Registry, entries: int, *, process: Any = None, spread: int = 100, prefix: str = "agent"
) -> float:
    """Register `entries` in batches: capability ``worker`` for a hundredth of them in turn, one of `spread` more each.

    Returns entries per second.
    """
    begin = time.perf_counter()
    for first in range(0, entries, 500):
        registry.register_many(
            [
                (
                    f"{prefix}-{number:07}",
                    {
                        "capabilities": {f"skill-{number % spread}", "worker"},
                        "endpoint": f"http://127.0.0.1:{9000 + number % 1000}",
                    },
                )
                for number in range(first, min(first + 500, entries))
            ],
            process,
        )
    return entries / (time.perf_counter() - begin)


def environment() -> Row:
    """Where these figures come from: a kind of machine and versions, no names."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "machine": f"{os.cpu_count()} cores, {model}",
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "adsum": adsum.__version__,
        "lmdb": version("lmdb"),
        "msgspec": version("msgspec"),
    }


def show(title: str, rows: list[Row]) -> None:
    """A table for people."""
    print(f"\n{title}")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    for line in [columns, *cells]:
        print(
            "  "
            + "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
            )
        )
    sys.stdout.flush()


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def save(name: str, results: Row) -> None:
    """Keep the figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{name}.json"
    target.write_text(json.dumps({"environment": environment(), **results}, indent=2) + "\n")
