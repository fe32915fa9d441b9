"""A witness: counts every answer of the registry, and checks it against the kernel.

The promise is that a read never returns a process that was dead when the read began. The witness keeps a pidfd of its
own for every process that a read returned. *Before* a read it asks the kernel which of them are dead; after the read it
looks for those in the answer. It uses none of adsum's own liveness checks. (A process that dies during a read may be in
the answer: it was alive when the registry checked it.)
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Unpack

import msgspec

import adsum


class Staleness(msgspec.Struct, frozen=True, array_like=True):
    """Answers with a member of another host whose process had ended before the read began: how many, and the longest
    time since the end, in seconds. On one machine there are none."""

    answers: int = 0
    longest: float = 0.0

    def plus(self, other: Staleness) -> Staleness:
        return Staleness(self.answers + other.answers, max(self.longest, other.longest))


class CheckedReads(Protocol):
    """Reads of a registry that are counted and checked."""

    registry: adsum.Registry
    lookups: int
    finds: int
    dead_handed_out: int
    staleness: Staleness

    def lookup(self, id: adsum.ProcessId | str) -> adsum.Entry | None: ...

    def choose(
        self, *, where: Callable[[adsum.Entry], object] | None = None, **conditions: Unpack[adsum.Conditions]
    ) -> adsum.Entry | None: ...

    def close(self) -> None: ...


class Witness:
    """Reads of one registry, each checked. `dead_handed_out` counts violations of the promise and must stay 0."""

    def __init__(self, registry: adsum.Registry) -> None:
        self.registry = registry
        self.lookups = 0
        self.finds = 0
        self.dead_handed_out = 0
        self.staleness = Staleness()
        # An incarnation is never used twice, so it identifies one process.
        self._pidfds: dict[int, int] = {}
        self._alive = select.poll()
        self._incarnations: dict[int, int] = {}
        self._dead: set[int] = set()

    def lookup(self, id: adsum.ProcessId | str) -> adsum.Entry | None:
        self.lookups += 1
        self._ask_kernel()
        entry = self.registry.lookup(id)
        self._check([] if entry is None else [entry])
        return entry

    def find(self, **conditions: Unpack[adsum.Conditions]) -> list[adsum.Entry]:
        self.finds += 1
        self._ask_kernel()
        entries = self.registry.find(**conditions)
        self._check(entries)
        return entries

    def choose(
        self, *, where: Callable[[adsum.Entry], object] | None = None, **conditions: Unpack[adsum.Conditions]
    ) -> adsum.Entry | None:
        self.finds += 1
        self._ask_kernel()
        entry = self.registry.choose(where=where, **conditions)
        self._check([] if entry is None else [entry])
        return entry

    def close(self) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()

    def _ask_kernel(self) -> None:
        for pidfd, _ in self._alive.poll(0):
            self._alive.unregister(pidfd)
            os.close(pidfd)
            incarnation = self._incarnations.pop(pidfd)
            del self._pidfds[incarnation]
            self._dead.add(incarnation)

    def _check(self, entries: Iterable[adsum.Entry]) -> None:
        for entry in entries:
            if entry.incarnation in self._dead:
                self.dead_handed_out += 1
            elif entry.incarnation not in self._pidfds:
                self._remember(entry)

    def _remember(self, entry: adsum.Entry) -> None:
        try:
            pidfd = os.pidfd_open(entry.pid)
        except ProcessLookupError:
            self._dead.add(entry.incarnation)
            return
        # The pid may have been reused between the read and pidfd_open.
        if start_time(entry.pid) != entry.start_time:
            os.close(pidfd)
            self._dead.add(entry.incarnation)
            return
        self._pidfds[entry.incarnation] = pidfd
        self._incarnations[pidfd] = entry.incarnation
        self._alive.register(pidfd, select.POLLIN)


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process: field 22 of its ``stat`` (proc(5)); None where it has gone."""
    try:
        # The command, field 2, may hold spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
