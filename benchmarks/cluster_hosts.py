"""Hosts for the benchmark of the cluster: real ones, and simulated ones that only publish.

A real host is a registry in a folder of its own, with its registrar and its bridge. A simulated one has the real
`Bridge` with its tenure and publisher, real entries and a connection of its own to etcd, but a table in memory instead
of a registry, and no mirror. Many of them run in one process, which takes commands, lines of JSON:

    cluster_hosts.py ADDRESS TTL < commands > answers
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import msgspec

import adsum
from adsum._bridge.bridge import Bridge
from adsum._bridge.exits import AwaitedExits
from adsum._bridge.local import LocalRegistry
from adsum._bridge.records import EndRecord, PublishedEntry, encode
from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from adsum._store.layout import key_of
from adsum.model import EPOCH
from harness import Row, stop

TICK_SECONDS = 0.01
MARKER_SECONDS = 0.02


class RealHost:
    """A registry of this machine that is part of the cluster. `name` is that of the host and of its node."""

    def __init__(self, base: Path, name: str, address: str, ttl: float, limits: adsum.Limits | None = None) -> None:
        self.name = name
        self.folder = base / name
        os.environ |= {"ADSUM_HOST": name, "ADSUM_CLUSTER_TTL": f"{ttl:g}"}
        self.registry = adsum.open(path=self.folder, node=name, cluster=address, timeout=60, limits=limits)

    def id(self, local_id: str) -> tuple[str, str, str]:
        """An id of this host, for readers on other hosts."""
        return "default", self.name, local_id

    @property
    def bridge_pid(self) -> int:
        """0 while none runs."""
        return int(self.bridge_status().get("pid", 0))

    @property
    def registrar_pid(self) -> int:
        return self.registry.stats().registrar_pid or 0

    def bridge_status(self) -> Row:
        """What the bridge says about itself; empty while it says nothing."""
        try:
            return cast(Row, json.loads((self.folder / "bridge.status").read_text()))
        except (OSError, ValueError):
            return {}

    def __enter__(self) -> RealHost:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        pids = [self.bridge_pid, self.registrar_pid]
        self.registry.close()
        for pid in filter(None, pids):
            stop(pid, signal.SIGKILL)


class NoEnds:
    """Takes the place of `UnseenEnds`: no member has ended while no bridge ran."""

    def of_published(self, _key: bytes, _value: bytes, _present: int | None) -> None:
        return None


class Table:
    """Takes the place of `LocalRegistry`: members in memory. Nothing is mirrored into it."""

    def __init__(self, host: str) -> None:
        self.node = host
        self.folder = Path("/")
        self.table: dict[bytes, adsum.Entry] = {}
        self.revision = 0
        self.epoch = 1
        self.exits = AwaitedExits(lambda _entry, _revision: None)
        self.on_change: Callable[[bytes, EndRecord | None, int], None] = lambda key, ended, since: None

    def put(self, local_id: str, number: int, **metadata: Any) -> None:
        """Register a member, or update it."""
        self.revision += 1
        process_id = adsum.ProcessId("default", self.node, local_id)
        key = key_of(process_id)
        before = self.table.get(key)
        if before is None:
            fields = adsum.Metadata(
                capabilities=frozenset({f"skill-{number % 100}", "remote"}),
                endpoint=f"http://10.0.0.1:{9000 + number % 1000}",
            )
            entry = adsum.Entry(process_id, 4711, 1, 2, self.revision, EPOCH, EPOCH, self.revision, fields)
        else:
            fields = msgspec.structs.replace(before.metadata, **metadata)
            entry = msgspec.structs.replace(before, revision=self.revision, metadata=fields)
        self.table[key] = entry
        self.on_change(key, None, self.revision)

    # What a bridge asks of the local registry

    def value(self, key: bytes) -> bytes | None:
        entry = self.table.get(key)
        return None if entry is None else encode(PublishedEntry(entry, self.epoch))

    def catch_up(self) -> None:
        """All is in the table."""

    def show(self, **_progress: object) -> None:
        """There is no reader."""

    def name_requests(self) -> list[object]:
        return []

    def unseen_ends(self) -> NoEnds:
        return NoEnds()

    async def answers(self, _seconds: float) -> bool:
        """There is no registrar that could be silent."""
        return True


class SimulatedHost:
    """Publishes its table. `ttl` is that of its lease."""

    def __init__(self, address: str, name: str, ttl: float) -> None:
        self.local = Table(name)
        self.entries = 0
        parsed = parse(address)
        self._etcd = EtcdClient(parsed)
        local = cast(LocalRegistry, self.local)
        self.bridge = Bridge(self._etcd, parsed.name, local, name, ttl, lambda: None)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.bridge._require_layout()
        self._tasks = [asyncio.create_task(part) for part in (self.bridge._hold(), self._watch_own_key())]

    async def until_published(self) -> None:
        """Wait until all is in etcd."""
        etcd_writer = self.bridge.etcd_writer
        while etcd_writer.published != self.local.revision or not etcd_writer._whole_for:
            for ended in [task for task in self._tasks if task.done()]:
                # An error of the bridge, which is not to be waited for.
                ended.result()
            await asyncio.sleep(0.005)

    async def _watch_own_key(self) -> None:
        """What a mirror does for its own host: it sees at once that the lease was lost."""
        key = self.bridge._keys.host(self.local.node)
        async with self._etcd.watch(key) as watch:
            async for response in watch:
                for change in response.changes:
                    self.bridge.tenure.own_key_changed(change.item.mod_revision)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._etcd.close()


class Simulation:
    """All simulated hosts of a process."""

    def __init__(self, address: str, ttl: float) -> None:
        self._address = address
        self._ttl = ttl
        self._hosts: list[SimulatedHost] = []
        self._chance = random.Random(1)
        self._changed: set[tuple[str, int]] = set()

    async def publish(self, hosts: int, entries: int) -> Row:
        """Start so many hosts, each with so many entries. The seconds until all is published."""
        self._hosts = [SimulatedHost(self._address, f"sim-{number}", self._ttl) for number in range(hosts)]
        for host in self._hosts:
            host.entries = entries
            for number in range(entries):
                host.local.put(f"agent-{number:05}", number)
        began = time.perf_counter()
        await asyncio.gather(*(host.start() for host in self._hosts))
        await asyncio.gather(*(host.until_published() for host in self._hosts))
        return {"seconds": time.perf_counter() - began}

    def change(self, changes: int) -> Row:
        """Change entries at random, without waiting."""
        self._changed.clear()
        for _ in range(changes):
            self._change_one()
        return {}

    def mark(self, text: str) -> Row:
        """Change the first entry of each host, last."""
        for host in self._hosts:
            host.local.put("agent-00000", 0, doing=text)
            self._changed.add((host.local.node, 0))
        return {}

    def changed(self) -> Row:
        """How many different entries `change` and `mark` have changed."""
        return {"entries": len(self._changed)}

    def _change_one(self) -> None:
        host = self._chance.choice(self._hosts)
        number = self._chance.randrange(host.entries)
        self._changed.add((host.local.node, number))
        host.local.put(f"agent-{number:05}", number, endpoint=f"http://10.0.0.1:{self._chance.randrange(60000)}")

    async def load(self, rate: int, seconds: float) -> Row:
        """So many changes a second for so long. A marker is among them, with the time of its change."""
        marker = self._hosts[0].local
        marker.put("marker", 0)
        began = time.monotonic()
        done, marked = 0, 0.0
        while (now := time.monotonic() - began) < seconds:
            due = int(now * rate)
            for _ in range(due - done):
                self._change_one()
            done = due
            if now >= marked + MARKER_SECONDS:
                marked = now
                marker.put("marker", 0, custom={"at": time.monotonic_ns()})
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*(host.until_published() for host in self._hosts))
        return {"changes": done, "seconds": time.monotonic() - began}

    async def stop(self) -> Row:
        await asyncio.gather(*(host.stop() for host in self._hosts))
        return {}


async def main() -> None:
    # An outage is a part of the benchmark, and its warnings are no news.
    logging.getLogger("adsum.bridge").setLevel(logging.CRITICAL)
    simulation = Simulation(sys.argv[1], float(sys.argv[2]))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        answer = getattr(simulation, command.pop("do"))(**command)
        print(json.dumps(await answer if asyncio.iscoroutine(answer) else answer), flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await simulation.stop()


if __name__ == "__main__":
    asyncio.run(main())
