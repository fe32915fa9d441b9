"""Time in which the registrar could not run makes no member late: a paused container, SIGSTOP, a suspended machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import adsum
from adsum import Registry, Watch
from tests.support import Child, registrar_pid, stopped

from .freezer import freezer

# An interval, and a pause after which its heartbeat would be twice as late as `unhealthy` takes.
INTERVAL, PAUSE = 0.5, 3.0


def beat_for_ever(folder: str) -> None:
    """In a child: members that keep their promise."""
    with adsum.open(path=folder, timeout=10) as registry:
        members = [registry.register(f"{number}", heartbeat=INTERVAL) for number in range(5)]
        print("beating", flush=True)
        while True:
            for member in members:
                member.heartbeat(timeout=60)
            time.sleep(INTERVAL / 10)


@contextlib.contextmanager
def frozen(folder: Path, child: Child) -> Iterator[None]:
    """A container with registrar and members is paused."""
    registrar = registrar_pid(folder)
    assert registrar is not None
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(freezer())
        # Before the group is removed.
        stack.callback(child.kill)
        stack.callback(os.kill, registrar, signal.SIGKILL)
        group.add([registrar, child.pid])
        with group.frozen():
            time.sleep(PAUSE)
        yield


@contextlib.contextmanager
def both_stopped(folder: Path, child: Child) -> Iterator[None]:
    with stopped(folder):
        child.stop()
        time.sleep(PAUSE)
        child.resume()
    yield


@contextlib.contextmanager
def registrar_stopped(folder: Path, _child: Child) -> Iterator[None]:
    with stopped(folder):
        time.sleep(PAUSE)
    yield


Pause: TypeAlias = "Callable[[Path, Child], contextlib.AbstractContextManager[None]]"


@pytest.mark.parametrize("pause", [frozen, both_stopped, registrar_stopped])
def test_no_member_gets_worse_for_a_pause(pause: Pause, registry: Registry, registry_folder: Path) -> None:
    """Members that gave their heartbeats before a pause of the registrar and give them after it stay healthy."""
    with Child(beat_for_ever, registry_folder) as child, registry.watch() as watch:
        child.expect("beating")
        with pause(registry_folder, child):
            assert not [event for event in events_for(2 * INTERVAL, watch) if event.entry is None or is_late(event)]


def is_late(event: adsum.Event) -> bool:
    return event.entry is not None and event.entry.health_source == "registrar"


def events_for(seconds: float, watch: Watch) -> list[adsum.Event]:
    """The events of the next `seconds`."""
    events, until = [], time.monotonic() + seconds
    with contextlib.suppress(adsum.Timeout):
        while (left := until - time.monotonic()) > 0:
            events.append(watch.next(timeout=left))
    return events
