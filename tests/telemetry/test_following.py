"""Events of deaths and registrars come from a thread that follows each open registry."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry, telemetry
from adsum.telemetry import _following
from tests.process.people import no_registrar
from tests.support import Agent, Child, Opener, end_registrar, eventually, kill_registrar, registrar_pid

from .conftest import FOLLOWED
from .event_log import EventLog


def _followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "adsum-telemetry"]


def _is_listening() -> bool:
    """Whether the follower has read the changes, and waits for the next one."""
    frames = sys._current_frames()
    waits = ("wait", "wait_in")
    return any(frames[thread.ident].f_code.co_name in waits for thread in _followers() if thread.ident in frames)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def deaths() -> EventLog:
    """A handler attached to `died` only."""
    handler = EventLog()
    telemetry.attach(handler, ["adsum.died"])
    return handler


def test_died(either: Registry, log: EventLog, process: subprocess.Popen[bytes]) -> None:
    """The death of a process makes an event for each of its entries: its type, its health, the detection time."""
    either.register_many([("a", {"type": "service"}), (("elsewhere", "n", "b"), {})], process)
    either.update_health("a", "degraded")
    process.kill()
    here = log.one("adsum.died", namespace="default")
    elsewhere = log.one("adsum.died", namespace="elsewhere")
    folder = str(either.folder)
    assert here.attributes == {
        "registry": folder,
        "namespace": "default",
        "type": "service",
        "health_status": "degraded",
    }
    assert elsewhere.attributes["health_status"] == "healthy"
    assert set(here.measurements) == {"count", "detection"}
    assert here.measurements["count"] == 1
    assert here.measurements["detection"] >= 0


def test_a_death_while_no_registrar_ran_has_no_detection(
    registry: Registry, deaths: EventLog, process: subprocess.Popen[bytes]
) -> None:
    """The event of a death that the kernel reported to no registrar has no figure that a histogram could count."""
    registry.register("a", process)
    with no_registrar(registry.folder):
        process.kill()
        process.wait()
    registry.register("b")
    assert deaths.one("adsum.died").measurements == {"count": 1}


def test_unregistering_is_not_dying(registry: Registry, deaths: EventLog, process: subprocess.Popen[bytes]) -> None:
    """Only deaths make events, not entries that were unregistered or handed over."""
    registry.register("a", process).hand_over(os.getpid())
    registry.unregister("a")
    registry.register("b", process)
    process.kill()
    eventually(lambda: deaths.all)
    assert deaths.events == ["adsum.died"]


def test_the_death_of_another_processs_entry(registry: Registry, deaths: EventLog) -> None:
    """Entries that other processes registered make events too, right after attaching or opening."""
    with Agent(registry.folder) as agent:
        agent.do("registry.register('a')")
        agent.kill()
        deaths.one("adsum.died")


def test_attached_after_opening(registry: Registry, process: subprocess.Popen[bytes]) -> None:
    """An open registry is followed from the moment of attaching: no death before it makes an event, every later one
    does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as earlier:
        registry.register("earlier", earlier)
        earlier.kill()
    eventually(lambda: registry.departures())
    registry.register("later", process)
    log = EventLog()
    # Held up, the follower's thread begins only after the death.
    with _following._lock:
        telemetry.attach(log, ["adsum.died"])
        process.kill()
        eventually(lambda: len(registry.departures()) == 2)
    log.one("adsum.died")


def test_each_death_is_one_event_however_often_the_registry_is_open(
    opener: Opener, deaths: EventLog, process: subprocess.Popen[bytes]
) -> None:
    """One thread follows a folder, however many objects have it open, and continues when one of them is closed."""
    first, second = opener(), opener(namespace="elsewhere")
    first.register("a", process)
    assert len(_followers()) == 1
    first.close()
    process.kill()
    eventually(lambda: deaths.all)
    second.register("b")
    assert deaths.events == ["adsum.died"]
    assert len(_followers()) == 1


def test_a_death_without_a_registrar(registry: Registry, deaths: EventLog, process: subprocess.Popen[bytes]) -> None:
    """A death while no registrar runs makes an event after the sweep of the next one."""
    registry.register("a", process)
    kill_registrar(registry.folder)
    process.kill()
    deaths.one("adsum.died")


def test_many_deaths_at_once(registry: Registry, deaths: EventLog, process: subprocess.Popen[bytes]) -> None:
    """The death of a process with 2,000 entries is 2,000 events."""
    for first in range(0, 2000, 500):
        registry.register_many([(f"a{number}", {}) for number in range(first, first + 500)], process)
    process.kill()
    eventually(lambda: len(deaths.all) == 2000)


def test_a_registry_that_is_made_later(registry: Registry, deaths: EventLog, process: subprocess.Popen[bytes]) -> None:
    """Following a registry that does not exist does not create it; when another process does, no death is missed."""
    eventually(_is_listening)
    assert not registry.folder.exists()
    with Agent(registry.folder) as agent:
        agent.do(f"registry.register('a', {process.pid})")
        process.kill()
        deaths.one("adsum.died")


def test_the_registrar_started_and_stopped(either: Registry, log: EventLog) -> None:
    """The start of a registrar by this process is an event with its duration; its end is one, and the next start."""
    either.register("a")
    started = log.one("adsum.registrar.started")
    assert set(started.measurements) == {"duration"}
    assert started.measurements["duration"] > 0
    assert started.attributes == {"registry": str(either.folder)}
    eventually(_is_listening)
    killed = kill_registrar(either.folder)
    stopped = log.one("adsum.registrar.stopped")
    assert stopped.measurements == {"count": 1}
    assert stopped.attributes == {"registry": str(either.folder)}
    eventually(lambda: len(log.of("adsum.registrar.started")) == 2)
    assert [event for event in log.events if "registrar" in event] == [
        "adsum.registrar.started",
        "adsum.registrar.stopped",
        "adsum.registrar.started",
    ]
    assert eventually(lambda: registrar_pid(either.folder)) != killed


def test_a_registrar_that_another_started(registry: Registry, registry_folder: Path) -> None:
    """A registrar that another process started makes no start event here; its end makes one."""
    with Agent(registry_folder) as agent:
        agent.do("registry.register('a')")
        log = EventLog()
        telemetry.attach(log, FOLLOWED)
        registry.register("b")
        # The follower is connected to the bell once it has reported a death.
        agent.kill()
        log.one("adsum.died")
        end_registrar(registry_folder)
        log.one("adsum.registrar.stopped")
    assert log.events[:2] == ["adsum.died", "adsum.registrar.stopped"]


def test_closing_is_not_the_end_of_a_registrar(opener: Opener, log: EventLog) -> None:
    """Closing the last registry of a folder ends its follower, without an event."""
    registry = opener()
    registry.register("a")
    log.one("adsum.registrar.started")
    registry.close()
    eventually(lambda: not _followers())
    assert log.of("adsum.registrar.stopped") == []


def test_threads_only_while_wanted(registry: Registry) -> None:
    """The thread runs while a handler wants its events and a registry is open, and not otherwise."""
    calls, deaths = EventLog(), EventLog()
    telemetry.attach(calls, ["adsum.register", "adsum.rejected"])
    registry.register("a")
    assert _followers() == []
    telemetry.attach(deaths, ["adsum.died"])
    assert len(_followers()) == 1
    telemetry.detach(deaths)
    eventually(lambda: not _followers())
    telemetry.attach(deaths, ["adsum.registrar.stopped"])
    registry.close()
    eventually(lambda: not _followers())


def test_detached_and_attached_at_once(registry: Registry, process: subprocess.Popen[bytes]) -> None:
    """However quickly handlers are attached and detached, an attached one gets the deaths."""
    log = EventLog()
    registry.register("a", process)
    for _ in range(50):
        telemetry.attach(log, ["adsum.died"])
        telemetry.detach(log)
    telemetry.attach(log, ["adsum.died"])
    process.kill()
    log.one("adsum.died")
    assert len(_followers()) == 1


def test_a_registry_that_is_forgotten(registry_folder: Path, deaths: EventLog) -> None:
    """Following a registry does not keep it open: one without references is closed, and no longer followed."""
    registry = adsum.open(path=registry_folder, timeout=10)
    registry.register("a")
    assert _followers()
    del registry
    gc.collect()
    eventually(lambda: not _followers())


def test_a_handler_of_deaths_that_raises(registry: Registry, process: subprocess.Popen[bytes]) -> None:
    """A handler that raises SystemExit in the follower's thread is detached; the others still get events."""

    def leaves(*_: object) -> None:
        sys.exit("leaving")

    log = EventLog()
    telemetry.attach(leaves, ["adsum.died"])
    telemetry.attach(log, ["adsum.died"])
    registry.register_many([("a", {}), ("b", {})], process)
    process.kill()
    eventually(lambda: len(log.all) == 2)


def _wakers_of_a_child() -> int:
    """How many epolls and eventfds a forked child has."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            places = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            # All but the one that the list was read through.
            code = sum("event" in os.readlink(place) for place in places if os.path.islink(place))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_has_no_copies(registry: Registry, deaths: EventLog) -> None:
    """A child closes the descriptors with which the parent's thread waits."""
    telemetry.detach(deaths)
    eventually(lambda: not _followers())
    registry.register("a")
    before = _wakers_of_a_child()
    telemetry.attach(deaths, ["adsum.died"])
    eventually(_is_listening)
    assert _wakers_of_a_child() == before


def test_a_forked_child(registry: Registry, log: EventLog) -> None:
    """A child has neither the follower's thread nor its descriptors. Its own calls make events in it, and attaching
    makes it follow the registry itself."""
    registry.register("a")
    log.one("adsum.registrar.started")
    eventually(_is_listening)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log.all.clear()
            registry.lookup("a")
            fine = log.events == ["adsum.lookup"] and _followers() == []
            telemetry.attach(log)
            eventually(_is_listening)
            kill_registrar(registry.folder)
            log.one("adsum.registrar.stopped")
            code = 0 if fine else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    log.one("adsum.registrar.stopped")


# The exit function that is registered first runs last: after all that adsum does at exit.
ENDS = """
import atexit, sys, threading

@atexit.register
def wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "adsum-telemetry":
            thread.join(2)

import adsum

adsum.telemetry.attach(lambda event, *_: print(event), ["adsum.registrar.started", "adsum.registrar.stopped"])
registry = adsum.open(path=sys.argv[1], timeout=10)
registry.register("a")
input()
print("over")
"""


def test_the_end_of_the_interpreter_is_silent(registry_folder: Path) -> None:
    """A program that exits while it follows exits with 0, silently, and its exit is no end of a registrar."""
    with Child(ENDS, registry_folder) as child:
        child.expect("adsum.registrar.started")
        child.say()
        assert child.process.communicate(timeout=30) == (b"over\n", b"")
        assert child.process.returncode == 0


def test_a_folder_that_cannot_be_followed(
    registry: Registry, registry_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that prevents following is logged once, and following is tried again."""
    registry.register("a")
    kill_registrar(registry_folder)
    registry_folder.chmod(0o777)
    try:
        log = EventLog()
        telemetry.attach(log, FOLLOWED)
        eventually(lambda: caplog.records)
        assert "cannot follow" in caplog.records[0].getMessage()
    finally:
        registry_folder.chmod(0o700)
    log.one("adsum.registrar.started")
    assert len(caplog.records) == 1
