"""Finds resources that a test left behind in its own process: descriptors, adsum's threads, child processes."""

from __future__ import annotations

import gc
import os
import threading
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NamedTuple

from adsum._client import member_lifetimes

from .processes import open_files
from .waiting import eventually


class Held(NamedTuple):
    """The resources of this process at one moment."""

    descriptors: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]
    children: frozenset[int]


def held() -> Held:
    return Held(_descriptors(), _threads(), children())


def check_nothing_leaked(before: Held, within: float = 5.0) -> None:
    """Raise an `AssertionError` that names the resources which were not there `before` and are not released by
    themselves."""
    if _leaked(before):
        # An unreferenced object may still be part of a reference cycle.
        gc.collect()
        try:
            eventually(lambda: not _leaked(before), within)
        except AssertionError:
            raise AssertionError("the test leaked " + "; ".join(_leaked(before))) from None


def _leaked(before: Held) -> list[str]:
    now = held()
    found = [f"descriptor {fd} -> {target}" for fd, target in sorted(now.descriptors - before.descriptors)]
    found += [f"thread {thread.name}" for thread in now.threads - before.threads]
    found += [f"child process {pid}: {_command(pid)}" for pid in sorted(now.children - before.children)]
    return found


def _descriptors() -> frozenset[tuple[int, str]]:
    # Both are made once in a process, at first use, and kept: by `member_lifetimes`, and by multiprocessing.
    wake = member_lifetimes._threads._wake
    kept = {-1 if wake is None else wake.fileno(), getattr(resource_tracker._resource_tracker, "_fd", None)}
    # libffi opens itself for the first callback of a process, in Debian's newer Pythons, and stays open.
    return frozenset(
        (number, file)
        for number, file in open_files().items()
        if number not in kept and not Path(file).name.startswith("libffi.so")
    )


def _threads() -> frozenset[threading.Thread]:
    return frozenset(thread for thread in threading.enumerate() if thread.name.startswith("adsum"))


def children() -> frozenset[int]:
    """The child processes of this one, but for the tracker of multiprocessing, which lives as long as this one does."""
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    found: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except OSError:
            # The process ended while the list was read.
            continue
        if parent == os.getpid() and int(name) != tracker:
            found.add(int(name))
    return frozenset(found)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            return command.read().replace(b"\0", b" ").decode(errors="replace")[:200] or "a zombie"
    except OSError:
        return "gone"
