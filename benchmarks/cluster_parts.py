"""What `cluster.py` measures of adsum's own cluster, one function for each question. Each returns rows."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, cast

import adsum
from adsum_demo.cluster.etcd import Etcd
from cluster_hosts import RealHost
from harness import Row, in_milliseconds

LIMITS = adsum.Limits(max_memory_bytes=1 << 30, max_remote_entries=200_000)
PAUSE = 0.0001
LONG = 120.0


class Sizes(NamedTuple):
    """How much of everything; `quick` is for trying the benchmark itself."""

    kills: int = 200
    hosts: int = 100
    entries: int = 1000
    rate: int = 5000
    load_seconds: float = 30.0
    rate_hosts: tuple[int, ...] = (1, 10, 100)
    restarts: int = 10
    losses: int = 10
    outage_seconds: float = 60.0
    outage_hosts: int = 20
    outage_changes: int = 5800
    reads: int = 20_000
    repetitions: int = 15


QUICK = Sizes(15, 10, 200, 1000, 4.0, (1, 10), 2, 2, 6.0, 4, 200, 2000, 5)


class Simulation:
    """The process with the simulated hosts of one cluster."""

    def __init__(self, address: str, ttl: float = 10.0) -> None:
        script = Path(__file__).with_name("cluster_hosts.py")
        self._process = subprocess.Popen(
            [sys.executable, script, address, str(ttl)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, do: str, **arguments: object) -> None:
        """Send a command; `answer` waits for what it says."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Row:
        assert self._process.stdout is not None
        return cast(Row, json.loads(self._process.stdout.readline()))

    def ask(self, do: str, **arguments: object) -> Row:
        self.start(do, **arguments)
        return self.answer()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def until(condition: Callable[[], object], seconds: float = LONG, pause: float = PAUSE) -> float:
    """Wait for a condition, and return the seconds that it took."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise RuntimeError(f"the benchmark waited for {seconds:g} s in vain")
        time.sleep(pause)
    return time.perf_counter() - began


def processor_time(pid: int) -> float:
    """The seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """The resident memory of a process that is its own, in MB: not the files that it shares."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def writes_of(etcd: Etcd) -> int:
    """The puts and deletes that etcd has carried out."""
    member = next(member for member in etcd.members if member.pid is not None)
    with urllib.request.urlopen(f"http://{member.client}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    names = ("etcd_mvcc_put_total ", "etcd_mvcc_delete_total ")
    return int(sum(float(line.split()[1]) for line in lines if line.startswith(names)))


# The questions


def kill_to_gone(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """From SIGKILL of a process at A until no lookup at B finds it, and until none at A does."""
    address = etcd.address("kills")
    here: list[float] = []
    there: list[float] = []
    with RealHost(base, "a", address, 10.0) as a, RealHost(base, "b", address, 10.0) as b:
        for number in range(sizes.kills):
            name = f"victim-{number}"
            for read_at, samples in ((b, there), (a, here)):
                with subprocess.Popen(["sleep", "600"]) as process:
                    a.registry.register(name, process)
                    until(lambda name=name: b.registry.lookup(a.id(name)))  # type: ignore[misc]
                    began = time.perf_counter()
                    process.kill()
                    while read_at.registry.lookup(a.id(name)) is not None:
                        time.sleep(PAUSE)
                    samples.append(time.perf_counter() - began)
                until(lambda name=name: b.registry.lookup(a.id(name)) is None)  # type: ignore[misc]
    return [{"read at": where, **in_milliseconds(one)} for where, one in (("the other host", there), ("A", here))]


def many_entries(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """100 hosts of 1,000 entries: publishing, a new mirror, memory, and what local reads cost beside them."""
    address = etcd.address("many")
    remote = sizes.hosts * sizes.entries
    with (
        Simulation(address) as simulation,
        adsum.open(path=base / "plain", node="plain", timeout=60, limits=LIMITS) as plain,
    ):
        published = simulation.ask("publish", hosts=sizes.hosts, entries=sizes.entries)["seconds"]
        _fill_locally(plain)
        began = time.perf_counter()
        with RealHost(base, "mirror", address, 10.0, LIMITS) as mirror:
            until(lambda: _remote_entries(mirror) == remote, pause=0.01)
            whole = time.perf_counter() - began
            used = mirror.registry.stats().bytes_used
            until(lambda: mirror.bridge_pid, pause=0.05)
            rss = resident_mb(mirror.bridge_pid)
            _fill_locally(mirror.registry)
            rows = [
                {"what": f"{remote:,} entries of {sizes.hosts} hosts published", "value": published, "unit": "s"},
                {"what": "a new mirror whole, from open()", "value": whole, "unit": "s"},
                {"what": "a new mirror whole, from its first word with etcd", "value": _loading(mirror), "unit": "s"},
                {"what": "tables, for each entry of another host", "value": used / remote, "unit": "B"},
                {"what": "memory of the bridge", "value": rss, "unit": "MB"},
                *_compared(plain, mirror.registry, sizes),
            ]
        registrar = plain.stats().registrar_pid
    if registrar:
        os.kill(registrar, signal.SIGTERM)
    return rows


def _remote_entries(host: RealHost) -> int:
    cluster = host.registry.stats().cluster
    return cluster.entries if cluster is not None and cluster.connected else 0


def _loading(host: RealHost) -> float:
    """From the first line of the bridge's log, which it writes when it holds its key, to the one that all is loaded."""

    def clock(line: str) -> float:
        hours, minutes, seconds = line.split()[1].replace(",", ".").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)

    lines = (host.folder / "bridge.log").read_text().splitlines()
    return clock(next(line for line in lines if "loaded" in line)) - clock(lines[0])


def _fill_locally(registry: adsum.Registry) -> None:
    registry.register_many(
        [(f"local-{n:04}", {"capabilities": {"here", f"tenth-{n % 10}"}, "endpoint": f"x:{n}"}) for n in range(1000)]
    )


def _compared(plain: adsum.Registry, mirror: adsum.Registry, sizes: Sizes) -> list[Row]:
    """Local reads without and with the entries of other hosts, in turn."""
    chance = random.Random(2)
    ids = [f"local-{chance.randrange(1000):04}" for _ in range(sizes.reads)]
    reads: dict[str, Callable[[adsum.Registry], object]] = {
        "lookup": lambda registry: [registry.lookup(id) for id in ids],
        "find": lambda registry: [registry.find(capability=f"tenth-{n % 10}") for n in range(sizes.reads // 50)],
    }
    rows: list[Row] = []
    for name, read in reads.items():
        samples: dict[str, list[float]] = {"without": [], "with": []}
        for repetition in range(2 * sizes.repetitions):
            where, registry = (("without", plain), ("with", mirror))[repetition % 2]
            began = time.perf_counter()
            read(registry)
            samples[where].append(time.perf_counter() - began)
        # The first of each fills caches.
        without, beside = (statistics.median(samples[where][1:]) for where in ("without", "with"))
        rows.append({"what": f"local {name} beside them, against without", "value": beside / without, "unit": "times"})
    return rows


def under_load(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """So many changes a second in all: what they cost a host that mirrors them, and how late it knows them."""
    rows: list[Row] = []
    for hosts in sizes.rate_hosts:
        address = etcd.address(f"rate-{hosts}")
        with Simulation(address) as simulation, RealHost(base, f"rate-{hosts}", address, 10.0, LIMITS) as mirror:
            entries = max(10, 1000 // hosts)
            simulation.ask("publish", hosts=hosts, entries=entries)
            until(lambda: _remote_entries(mirror) >= hosts * entries, pause=0.01)  # noqa: B023
            until(lambda: mirror.bridge_pid, pause=0.05)
            pids = mirror.bridge_pid, mirror.registrar_pid, *(member.pid for member in etcd.members)
            before = [processor_time(pid) for pid in pids if pid]
            simulation.start("load", rate=sizes.rate, seconds=sizes.load_seconds)
            delays = _watch_marker(mirror, sizes.load_seconds)
            said = simulation.answer()
            bridge, registrar, *servers = (
                processor_time(pid) - then for pid, then in zip(filter(None, pids), before, strict=True)
            )
            seconds = said["seconds"]
            rows.append(
                {
                    "changes/s": said["changes"] / seconds,
                    "from hosts": hosts,
                    **in_milliseconds(delays),
                    "cores, bridge": bridge / seconds,
                    "cores, registrar": registrar / seconds,
                    "cores, etcd": sum(servers) / seconds,
                }
            )
    return rows


def _watch_marker(mirror: RealHost, seconds: float) -> list[float]:
    """How late each change of the marker is seen, for so long."""
    delays: list[float] = []
    known = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        entry = mirror.registry.lookup(("default", "sim-0", "marker"))
        # None while its host cannot be reached: the simulation is one process, and may be late with its leases.
        at = known if entry is None else entry.custom.get("at", known)
        if at != known:
            delays.append((time.monotonic_ns() - at) / 1e9)
            known = at
        time.sleep(0.0005)
    return delays


def restarts(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """The bridge of a host with 1,000 entries is killed: until the next one holds the host's key, and its writes."""
    address = etcd.address("restarts")
    seconds: list[float] = []
    writes = 0
    with RealHost(base, "a", address, 10.0) as a, RealHost(base, "b", address, 10.0) as b:
        _fill_locally(a.registry)
        until(lambda: _remote_entries(b) == 1000)
        with b.registry.watch() as watch:
            for _ in range(sizes.restarts):
                until(lambda: a.bridge_pid, pause=0.01)
                pid = a.bridge_pid
                os.kill(pid, signal.SIGKILL)
                seconds.append(until(lambda pid=pid: a.bridge_status().get("fence") and a.bridge_pid != pid))  # type: ignore[misc]
                time.sleep(1.0)
                writes += a.bridge_status()["writes"]
            noticed = _events(watch)
    return [{**in_milliseconds(seconds), "entries written": writes, "events elsewhere": " ".join(noticed) or 0}]


def _events(watch: adsum.Watch) -> list[str]:
    """The kinds of all events up to now."""
    kinds: list[str] = []
    with contextlib.suppress(adsum.Timeout):
        while True:
            kinds.append(watch.next(timeout=0.5).kind.value)
    return kinds


def losses(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """A host's bridge is stopped, as in a power failure of the host, and goes on once the others have lost the host."""
    lost: list[float] = []
    back: list[float] = []
    ttl = 2.0
    address = etcd.address("losses")
    with RealHost(base, "a", address, ttl) as a, RealHost(base, "b", address, ttl) as b:
        _fill_locally(a.registry)
        one = a.id("local-0500")
        chance = random.Random(3)
        for _ in range(sizes.losses):
            until(lambda: b.registry.lookup(one))
            until(lambda: a.bridge_pid, pause=0.01)
            time.sleep(chance.uniform(1.0, 3.0))
            pid = a.bridge_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                lost.append(until(lambda: b.registry.lookup(one) is None))
            finally:
                os.kill(pid, signal.SIGCONT)
            back.append(until(lambda: b.registry.lookup(one)))
    return [{"what": what, "ttl, s": ttl, **in_milliseconds(one)} for what, one in (("lost", lost), ("back", back))]


def outage(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """All members of etcd stop for a minute, and members of all hosts change meanwhile; then all are true again."""
    address = etcd.address("outage")
    with Simulation(address) as simulation, RealHost(base, "reader", address, 10.0, LIMITS) as reader:
        simulation.ask("publish", hosts=sizes.outage_hosts, entries=sizes.entries)
        until(lambda: _remote_entries(reader) == sizes.outage_hosts * sizes.entries, pause=0.01)
        before = writes_of(etcd)
        with _stopped(etcd):
            simulation.ask("change", changes=sizes.outage_changes)
            simulation.ask("mark", text="after the outage")
            time.sleep(sizes.outage_seconds)
            unreachable = reader.registry.stats().cluster
        seconds = until(lambda: _is_marked(reader, sizes.outage_hosts, "after the outage"), pause=0.005)
        changed = simulation.ask("changed")["entries"]
        time.sleep(3.0)
        writes = writes_of(etcd) - before
    return [
        {
            "seconds without etcd": sizes.outage_seconds,
            "hosts": sizes.outage_hosts,
            "entries": sizes.outage_hosts * sizes.entries,
            "changed meanwhile": changed,
            "unreachable meanwhile": unreachable.unreachable if unreachable else 0,
            "true again, s": seconds,
            "writes": writes,
        }
    ]


def _is_marked(reader: RealHost, hosts: int, text: str) -> bool:
    """Whether the last change of each host is known."""
    return all(
        (entry := reader.registry.lookup(("default", f"sim-{host}", "agent-00000"))) is not None
        and entry.metadata.doing == text
        for host in range(hosts)
    )


@contextlib.contextmanager
def _stopped(etcd: Etcd) -> Iterator[None]:
    pids = [member.pid for member in etcd.members if member.pid is not None]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
