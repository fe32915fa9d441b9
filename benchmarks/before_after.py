"""This version beside an earlier commit: the same work in turns, on one machine, in one run.

Each version is installed into an environment of its own and has a registry of its own. Two processes of each do the
work: one that owns the members and writes, one that reads. The versions take turns, and each turn is compared with the
other's of the same round, so that what the machine does meanwhile meets both.

    make bench-before ARGS="aaf0993 --rounds 15"
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from harness import RESULTS, environment

HERE = Path(__file__).resolve().parent.parent
MEMBERS = 4000
# What both versions can do. Each of them prints seconds for one operation.
WRITER = """
import os, select, statistics, subprocess, sys, time
import adsum
folder, members = sys.argv[1], int(sys.argv[2])
registry, clock, turn = adsum.open(path=folder, timeout=60), time.perf_counter, 0
for n in range(members):
    registry.register(f"m{n}", capabilities={f"c{n % 40}"})

def register():
    spent, made = [], []
    for n in range(1000):
        begin = clock()
        made.append(registry.register(f"x{turn}-{n}", capabilities={"extra"}))
        spent.append(clock() - begin)
    for one in made:
        one.unregister()
    return statistics.median(spent)

def register_after_large():
    # Before its first large message a process may pay for each buffer: glibc maps and unmaps large ones (mallopt(3),
    # M_MMAP_THRESHOLD), until one was freed.
    for one in registry.register_many([(f"large-{n}", {}) for n in range(500)]):
        one.unregister()
    return register()

def update_health():
    spent = []
    for n in range(1000):
        begin = clock()
        registry.update_health(f"m{n}", "degraded" if turn % 2 else "healthy")
        spent.append(clock() - begin)
    return statistics.median(spent)

def kill_to_gone():
    spent = []
    for n in range(10):
        victim = subprocess.Popen(["sleep", "60"])
        os.sched_setaffinity(victim.pid, {max(os.sched_getaffinity(0))})
        registry.register(f"victim-{turn}-{n}", victim)
        registry.lookup(f"victim-{turn}-{n}")
        time.sleep(0.002)
        begin = clock()
        victim.kill()
        while registry.lookup(f"victim-{turn}-{n}") is not None:
            pass
        spent.append(clock() - begin)
        victim.wait()
    return statistics.median(spent)

def takeover():
    pid = registry.stats().registrar_pid
    ended = select.poll()
    ended.register(pidfd := os.pidfd_open(pid))
    os.kill(pid, 9)
    ended.poll()
    os.close(pidfd)
    begin = clock()
    registry.update("m0", endpoint=f"turn-{turn}")
    return clock() - begin

print("ready", flush=True)
for line in sys.stdin:
    turn += 1
    if line.strip() == "kill_to_gone":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(globals()[line.strip()](), flush=True)
"""
READER = """
import random, statistics, sys, time
import adsum
folder, members, clock = sys.argv[1], int(sys.argv[2]), time.perf_counter

def first_lookup(registry):
    ids = [f"m{n}" for n in range(1, members)]
    random.shuffle(ids)
    begin = clock()
    for id in ids:
        registry.lookup(id)
    return (clock() - begin) / len(ids)

def lookup(registry):
    # An answer to a lookup that is repeated is kept; the third finds it.
    first_lookup(registry)
    first_lookup(registry)
    return first_lookup(registry)

def first_find(registry):
    spent = []
    for n in range(1, 40):
        begin = clock()
        found = registry.find(capability=f"c{n}")
        spent.append(clock() - begin)
        assert len(found) == members // 40
    return statistics.median(spent)

def find(registry):
    # A search that is asked for the second time is kept; the third finds the result.
    first_find(registry)
    first_find(registry)
    return first_find(registry)

print("ready", flush=True)
for line in sys.stdin:
    # A new reader, which has nothing in its cache.
    registry = adsum.open(path=folder, timeout=60)
    registry.lookup("m0")
    print(globals()[line.strip()](registry), flush=True)
    registry.close()
"""
OPERATIONS = {
    "register": ("writer", 1),
    "update_health": ("writer", 1),
    "first_lookup": ("reader", 1),
    "lookup": ("reader", 1),
    "first_find": ("reader", 1),
    "find": ("reader", 1),
    "register_after_large": ("writer", 1),
    "takeover": ("writer", 3),
    # Last, because it keeps the writer on one processor.
    "kill_to_gone": ("writer", 1),
}


class Version:
    """One version, installed in `home`, with its registry and its two processes."""

    def __init__(self, home: Path, source: Path) -> None:
        venv.create(home / "venv", with_pip=True)
        python = str(home / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--no-cache-dir", "-qq", str(source)], check=True)
        self._programs: dict[str, subprocess.Popen[str]] = {}
        for name, code in (("writer", WRITER), ("reader", READER)):
            self._programs[name] = program = subprocess.Popen(
                [python, "-c", code, str(home / "registry"), str(MEMBERS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
            )
            self._line(program)

    def seconds(self, operation: str) -> float:
        """What one operation takes, the median of many of one turn."""
        program = self._programs[OPERATIONS[operation][0]]
        assert program.stdin is not None
        program.stdin.write(f"{operation}\n")
        program.stdin.flush()
        return float(self._line(program))

    def close(self) -> None:
        """End both processes; the registrar leaves when nothing is registered any more."""
        for program in self._programs.values():
            program.communicate()

    def _line(self, program: subprocess.Popen[str]) -> str:
        assert program.stdout is not None
        if not (line := program.stdout.readline()):
            raise RuntimeError(f"the benchmark's process ended early with {program.wait()}")
        return line


def compare(before: Version, after: Version, rounds: int) -> dict[str, dict[str, float]]:
    """For each operation the medians in microseconds, and the median of the ratios of all rounds."""
    rows = {}
    for operation, (_, times) in OPERATIONS.items():
        pairs = []
        for number in range(rounds * times):
            if number % 2:
                new, old = after.seconds(operation), before.seconds(operation)
            else:
                old, new = before.seconds(operation), after.seconds(operation)
            pairs.append((old, new))
        rows[operation] = {
            "before, us": statistics.median(old for old, _ in pairs) * 1e6,
            "after, us": statistics.median(new for _, new in pairs) * 1e6,
            "ratio": statistics.median(new / old for old, new in pairs),
        }
        line = "  ".join(f"{name} {value:.3f}" for name, value in rows[operation].items())
        print(f"{operation:21} {line}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="this version beside an earlier commit, in one run")
    parser.add_argument("commit", help="the earlier version")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each version for each operation")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="adsum-bench-", dir="/dev/shm"))
    versions: list[Version] = []
    try:
        archive = subprocess.run(["git", "archive", arguments.commit], cwd=HERE, check=True, capture_output=True)
        (home / "source").mkdir()
        subprocess.run(["tar", "-x", "-C", str(home / "source")], input=archive.stdout, check=True)
        for name, source in (("before", home / "source"), ("after", HERE)):
            print(f"installing the version {name}", file=sys.stderr)
            versions.append(Version(home / name, source))
        rows = compare(versions[0], versions[1], arguments.rounds)
        document = {"environment": environment(), "before": arguments.commit, "rounds": arguments.rounds, "rows": rows}
        (RESULTS / "before_after.json").write_text(json.dumps(document, indent=2) + "\n")
    finally:
        for version in versions:
            version.close()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
