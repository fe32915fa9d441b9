"""The ends of all processes of the demo, in one file for all hosts, and a witness that checks reads against it.

The parent of a process is told of its end by the kernel, on its own host, and appends a line. The clock is
CLOCK_MONOTONIC, which is one for all namespaces of a machine. A reader takes in the file *before* each read of the
registry, so what is in it had ended before the read began.

What counts: a member of the reader's own host must not be in an answer at all. A member of another host may be, for as
long as the news travels, and that long is said: `Staleness`. It must not be in an answer more than `bound` seconds
after its end: each such answer is a dead member handed out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Unpack

import adsum

from ..witness import Staleness


class Identity(NamedTuple):
    """A process: its host, its pid there, and its start in clock ticks since the boot of the machine."""

    host: str
    pid: int
    start_time: int


class Deaths:
    """The file, read up to its present end. `ended` has the moment of each end, in seconds of CLOCK_MONOTONIC."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._offset = 0
        self.ended: dict[Identity, float] = {}

    def refresh(self) -> None:
        """Take in what is new."""
        while part := os.pread(self._descriptor, 1 << 16, self._offset):
            whole = part.rfind(b"\n") + 1
            self._offset += whole
            for line in part[:whole].decode().splitlines():
                host, pid, start_time, ended = line.split()
                self.ended[Identity(host, int(pid), int(start_time))] = float(ended)
            if not whole:
                return

    def close(self) -> None:
        os.close(self._descriptor)


def append(path: Path, processes: Iterable[Identity], ended: float) -> None:
    """Note that these processes have ended, as the kernel said at `ended`."""
    lines = "".join(f"{one.host} {one.pid} {one.start_time} {ended:.6f}\n" for one in processes)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)


class ClusterWitness:
    """Reads of the registry of `host`, each checked. `dead_handed_out` must stay 0."""

    def __init__(self, registry: adsum.Registry, deaths: Deaths, host: str, bound: float) -> None:
        self.registry = registry
        self._deaths = deaths
        self._host = host
        self._bound = bound
        self.lookups = 0
        self.finds = 0
        self.dead_handed_out = 0
        self.staleness = Staleness()

    def lookup(self, id: adsum.ProcessId | str) -> adsum.Entry | None:
        self.lookups += 1
        began = self._begin()
        entry = self.registry.lookup(id)
        self._check([] if entry is None else [entry], began)
        return entry

    def find(self, **conditions: Unpack[adsum.Conditions]) -> list[adsum.Entry]:
        self.finds += 1
        began = self._begin()
        entries = self.registry.find(**conditions)
        self._check(entries, began)
        return entries

    def choose(
        self, *, where: Callable[[adsum.Entry], object] | None = None, **conditions: Unpack[adsum.Conditions]
    ) -> adsum.Entry | None:
        self.finds += 1
        began = self._begin()
        entry = self.registry.choose(where=where, **conditions)
        self._check([] if entry is None else [entry], began)
        return entry

    def close(self) -> None:
        self._deaths.close()

    def _begin(self) -> float:
        self._deaths.refresh()
        return time.monotonic()

    def _check(self, entries: Iterable[adsum.Entry], began: float) -> None:
        for entry in entries:
            ended = self._deaths.ended.get(Identity(entry.host or self._host, entry.pid, entry.start_time))
            if ended is None:
                continue
            is_remote = bool(entry.host)
            if is_remote:
                self.staleness = self.staleness.plus(Staleness(1, began - ended))
            if not is_remote or began - ended > self._bound:
                self.dead_handed_out += 1
