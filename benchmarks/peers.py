"""How does adsum compare with what people use instead? Everything in one run, because the ratios count.

Each peer does the same work: ids at random from all entries, which belong to other processes, a reader that owns
nothing, and an answer only for a living owner where the peer can know that. A line is the median of several
repetitions, each the mean of many operations, with the worst repetition beside it. Peers that this machine does not
have are left out with a message: Elixir, Valkey or Redis, Pyro5.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import Row, fresh_registry, save, show, stop
from processes import OWNER, Script

OWNERS = 8
LOOKUPS = 100_000
SLOW_LOOKUPS = 5_000
WRITES = 2_000
# A process that makes a thousand members, each a process of its own.
CROWD = """
import os, signal, sys, adsum
registry = adsum.open(path=sys.argv[1], timeout=60)
for number in range(1000):
    if not os.fork():
        registry.register(f"one-{number}", capabilities={"wanted"}, gauges={"load": number}, timeout=60)
        os.write(1, b".")
        signal.pause()
os.write(1, b"ready\\n")
signal.pause()
"""
WRITER = """
import sys, time, adsum
registry = adsum.open(path=sys.argv[1], timeout=60)
registration = registry.register("writer")
print("ready", flush=True)
while True:
    registration.update(endpoint=f"tcp://127.0.0.1:{time.time_ns() % 60000}"); time.sleep(0.001)
"""


class Bench:
    """Repetitions of operations, in nanoseconds each."""

    def __init__(self, repetitions: int) -> None:
        self.repetitions = repetitions
        self.samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, operation: str, peer: str, call: Callable[[Any], object], arguments: list[Any]) -> None:
        """Time one repetition: the call with each of the arguments in turn."""
        begin = time.perf_counter_ns()
        for argument in arguments:
            call(argument)
        self.samples[operation, peer].append((time.perf_counter_ns() - begin) / len(arguments))

    def often(self, operation: str, peer: str, call: Callable[[Any], object], arguments: list[Any]) -> None:
        """Once to warm up, then all repetitions."""
        for argument in arguments:
            call(argument)
        for _ in range(self.repetitions):
            self.add(operation, peer, call, arguments)

    def rows(self) -> list[Row]:
        return [
            {"operation": operation, "peer": peer, "us": statistics.median(ns) / 1e3, "worst, us": max(ns) / 1e3}
            for (operation, peer), ns in sorted(self.samples.items())
        ]


def adsum_lookups(bench: Bench, entries: int) -> None:
    chance = random.Random(1)
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(max_memory_bytes=2 << 30))
        path, share = str(registry.folder), -(-entries // OWNERS)
        bounds = [(n * share, min(entries, (n + 1) * share)) for n in range(OWNERS)]
        owners = [
            stack.enter_context(Script(OWNER, path, str(first), str(last), str(entries))) for first, last in bounds
        ]
        for owner in owners:
            owner.line()
        ids = [f"agent-{chance.randrange(entries):07}" for _ in range(LOOKUPS)]
        everyone = [f"agent-{n:07}" for n in range(min(entries, 20_000))]
        chance.shuffle(everyone)
        bench.add(f"lookup, first time, {entries:,}", "adsum", registry.lookup, everyone)
        for id in ids:
            registry.lookup(id)
        bench.often(f"lookup, {entries:,}", "adsum", registry.lookup, ids)
        absent = [f"nobody-{n}" for n in range(1000)]
        bench.add(f"lookup, absent, first time, {entries:,}", "adsum", registry.lookup, absent)
        bench.often(f"lookup, absent, {entries:,}", "adsum", registry.lookup, absent)
        stack.enter_context(Script(WRITER, path)).line()
        bench.often(f"lookup beside changes, {entries:,}", "adsum", registry.lookup, ids)


def adsum_crowd(bench: Bench) -> None:
    with fresh_registry() as registry, Script(CROWD, str(registry.folder)) as crowd:
        crowd.line()
        while registry.count(capability="wanted") < 1000:
            time.sleep(0.01)

        def find(_: int) -> int:
            return len(registry.find(capability="wanted"))

        find(0)
        bench.often("find 1,000 of 1,000", "adsum", find, list(range(200)))
        bench.often("choose 1 of 1,000", "adsum", lambda _: registry.choose(capability="wanted"), list(range(2000)))
        for by in ("least", "two_choices"):
            least = [{"by": by, "key": "load", "capability": "wanted"}] * 200
            bench.often(f"choose by {by} of 1,000 gauges", "adsum", lambda how: registry.choose(**how), least)
        gauges = [(f"one-{number}", "load") for number in range(1000)]
        bench.often("read a gauge", "adsum", lambda gauge: registry.gauge(*gauge), gauges * 5)
        bench.often("count 1,000", "adsum", lambda _: registry.count(capability="wanted"), list(range(200)))
        first = [f"limit-{n}" for n in range(2000)]
        bench.often("find 1 of 1,000", "adsum", lambda _: registry.find(capability="wanted", limit=1), first)
        with Script(WRITER, str(registry.folder)) as writer:
            writer.line()
            bench.often("find 1,000 beside changes", "adsum", find, list(range(200)))
        for pid in {entry.pid for entry in registry.find(capability="wanted")}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


def adsum_writes(bench: Bench) -> None:
    with fresh_registry() as registry:
        gauges = registry.register("busy", gauges={"load": 0.0}).gauges
        bench.often("set a gauge", "adsum", lambda load: gauges.__setitem__("load", load), [0.25, 0.75] * 5000)
        beating = registry.register("beating", heartbeat=60.0)
        bench.often("heartbeat", "adsum", lambda _: beating.heartbeat(timeout=5), list(range(2000)))
        for repetition in range(bench.repetitions):
            ids = [f"new-{repetition}-{n}" for n in range(WRITES)]
            bench.add("register", "adsum", lambda id: registry.register(id, timeout=5), ids)
            bench.add("update_health", "adsum", lambda id: registry.update_health(id, "degraded", timeout=5), ids)


STARTS = """
import sys, time
begin = time.perf_counter_ns()
import adsum
adsum.open
imported = time.perf_counter_ns()
registry = adsum.open(path=sys.argv[1], timeout=60)
registry.lookup("first")
opened = time.perf_counter_ns()
first = adsum.open(path=sys.argv[2], timeout=60)
first.register("first")
written = time.perf_counter_ns()
print(imported - begin, opened - imported, written - opened, first.stats().registrar_pid)
"""


def adsum_starts(bench: Bench) -> None:
    """What a program waits for once: each repetition is a process of its own."""
    with fresh_registry() as registry:
        registry.register("first")
        for _ in range(5 * bench.repetitions):
            home = tempfile.mkdtemp(prefix="adsum-bench-", dir="/dev/shm")
            with Script(STARTS, str(registry.folder), f"{home}/registry") as program:
                *times, registrar = program.line().split()
            stop(int(registrar))
            shutil.rmtree(home)
            names = (
                "import adsum",
                "open a running registry, and look up",
                "open and register, with the registrar's start",
            )
            for name, nanoseconds in zip(names, times, strict=True):
                bench.samples[name, "adsum"].append(float(nanoseconds))


def adsum_deaths(bench: Bench) -> None:
    """From SIGKILL until a lookup does not find the process."""
    with fresh_registry() as registry:
        for number in range(20 * bench.repetitions):
            with subprocess.Popen(["sleep", "600"]) as process:
                id = f"dies-{number}"
                registry.register(id, process)
                registry.lookup(id)
                begin = time.perf_counter_ns()
                process.kill()
                while id in registry:
                    pass
                bench.samples["kill to gone", "adsum"].append(float(time.perf_counter_ns() - begin))


@contextlib.contextmanager
def redis_server() -> Iterator[str | None]:
    """The Unix socket of a Valkey or Redis server without persistence."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        print("left out: no valkey-server and no redis-server here (Debian: redis-server)")
        yield None
        return
    home = Path(tempfile.mkdtemp(prefix="adsum-bench-", dir="/dev/shm"))
    options = ["--port", "0", "--unixsocket", str(home / "s"), "--save", "", "--appendonly", "no", "--dir", str(home)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        while not _answers(home / "s"):
            time.sleep(0.01)
        yield str(home / "s")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def redis_peer(bench: Bench, entries: int) -> None:
    try:
        import redis
    except ImportError:
        print("left out: no redis client here (requirements-bench.txt)")
        return
    with redis_server() as path:
        if path is None:
            return
        client = redis.Redis(unix_socket_path=path)
        print(f"Valkey or Redis {client.info()['redis_version']}")
        for first in range(0, entries, 5000):
            client.mset({f"agent-{n:07}": json.dumps({"endpoint": n}) for n in range(first, first + 5000)})
        chance = random.Random(2)
        ids = [f"agent-{chance.randrange(entries):07}" for _ in range(SLOW_LOOKUPS)]
        bench.often(f"lookup, {entries:,}", "Redis GET", client.get, ids)
        for repetition in range(bench.repetitions):
            new = [f"new-{repetition}-{n}" for n in range(WRITES)]
            bench.add("register", "Redis SET NX", lambda id: client.set(id, "x", nx=True), new)


def local_peers(bench: Bench, entries: int) -> None:
    chance = random.Random(3)
    ids = [f"agent-{chance.randrange(entries):07}" for _ in range(LOOKUPS)]
    plain = {f"agent-{n:07}": json.dumps({"endpoint": n}) for n in range(entries)}
    bench.often(f"lookup, {entries:,}", "dict in this process", plain.get, ids)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        database = sqlite3.connect(Path(home) / "peer.sqlite")
        database.execute("pragma journal_mode=wal")
        database.execute("create table entries (id text primary key, value text) without rowid")
        database.executemany("insert into entries values (?, ?)", plain.items())
        database.commit()

        def select(name: str) -> object:
            return database.execute("select value from entries where id = ?", (name,)).fetchone()

        bench.often(f"lookup, {entries:,}", "SQLite, WAL, in memory", select, ids[:SLOW_LOOKUPS])
        database.close()
    with multiprocessing.get_context("spawn").Manager() as manager:
        shared = manager.dict(plain)
        bench.often(f"lookup, {entries:,}", "multiprocessing.Manager", shared.get, ids[:SLOW_LOOKUPS])


def pyro_peer(bench: Bench, entries: int) -> None:
    try:
        import Pyro5.api
        import Pyro5.nameserver
    except ImportError:
        print("left out: no Pyro5 here (requirements-bench.txt)")
        return
    code = (
        "import Pyro5.nameserver, sys\n"
        "uri, daemon, _ = Pyro5.nameserver.start_ns('127.0.0.1', 0, enableBroadcast=False)\n"
        "print(uri, flush=True); daemon.requestLoop()"
    )
    with Script(code) as server:
        names = Pyro5.api.Proxy(server.line())
        for n in range(1000):
            names.register(f"agent-{n:07}", f"PYRO:agent@127.0.0.1:{9000 + n}")
        ids = [f"agent-{n:07}" for n in range(1000)]
        bench.often(f"lookup, {entries:,}", "Pyro5 name server (1,000 names)", names.lookup, ids)


def elixir_peer(bench: Bench, entries: int) -> None:
    if shutil.which("elixir") is None:
        print("left out: no elixir here (Debian: elixir)")
        return
    script = Path(__file__).with_suffix(".exs")
    arguments = ["elixir", str(script), str(entries), str(bench.repetitions)]
    for line in subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines():
        what, nanoseconds = line.split("\t")
        if what.startswith("GenServer"):
            operation = "find 1,000 of 1,000"
        elif what == "Registry.register":
            operation = "register"
        else:
            operation = f"lookup, {entries:,}"
        bench.samples[operation, f"Elixir: {what}"].append(float(nanoseconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--entries", type=int, nargs="*", default=[10_000, 100_000])
    arguments = parser.parse_args()
    bench = Bench(arguments.repetitions)
    for entries in arguments.entries:
        adsum_lookups(bench, entries)
        elixir_peer(bench, entries)
        redis_peer(bench, entries)
        local_peers(bench, entries)
    adsum_crowd(bench)
    adsum_writes(bench)
    adsum_starts(bench)
    adsum_deaths(bench)
    pyro_peer(bench, 10_000)
    rows = bench.rows()
    show("adsum and what people use instead, in one run", rows)
    save("peers", {"rows": rows, "argv": sys.argv[1:]})


if __name__ == "__main__":
    main()
