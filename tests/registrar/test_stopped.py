"""A stopped registrar delays no call beyond its timeout; a stopped client or reader delays no other process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import adsum
from adsum import Limits, Registry, Timeout
from adsum import _wire as wire
from adsum._client.dial import START_SECONDS

from ..support import Agent, Child, eventually, kill_registrar, registrar_pid, stopped
from .by_hand import Caller, hello


def test_a_stopped_registrar_is_a_timeout(registry: Registry, registry_folder: Path) -> None:
    """A call that a stopped registrar does not answer ends at its timeout, was not done, and reads go on meanwhile."""
    registry.register("held")
    with stopped(registry_folder):
        with pytest.raises(Timeout):
            registry.register("new", timeout=0.1)
        assert registry["held"].pid == os.getpid()
        assert registry.lookup("new") is None
    registry.update_health("held", "degraded")
    assert registry.lookup("new") is None
    assert registry.audit() == []


def test_a_stopped_registrar_and_the_default_timeout(registry_folder: Path) -> None:
    """A call without a timeout ends too, by the registry's bound, on an open connection."""
    with adsum.open(path=registry_folder, limits=Limits(registration_timeout=5)) as registry:
        registry.register("first")
    with adsum.open(path=registry_folder) as registry:
        registry.update_health("first", "healthy")
        with stopped(registry_folder), pytest.raises(Timeout):
            registry.register("new")


def test_a_stopped_registrar_and_a_new_caller(registry: Registry, registry_folder: Path) -> None:
    """A client without a connection gets a timeout as well."""
    registry.register("held")
    with stopped(registry_folder), Agent(registry_folder, timeout=0.3) as agent:
        assert agent.value("registry['held'].pid") == os.getpid()
        with pytest.raises(Timeout):
            agent.do("registry.register('new')")
    registry.register("later")
    assert registry.lookup("new") is None


def test_a_stopped_registrar_and_the_default_timeout_of_a_new_caller(registry: Registry, registry_folder: Path) -> None:
    """A client without a connection or a timeout does not wait as long as for a registrar that has to start."""
    registry.register("held")
    begun = time.monotonic()
    with stopped(registry_folder), adsum.open(path=registry_folder) as other:
        for _ in range(3):
            with pytest.raises(Timeout):
                other.register("new")
            with pytest.raises(Timeout):
                other.register_nowait("new").result()
    assert time.monotonic() - begun < START_SECONDS
    registry.register("later")
    assert registry.lookup("new") is None


def test_many_threads_and_a_stopped_registrar(registry: Registry, registry_folder: Path) -> None:
    """More threads than a process has connections all get their timeouts, and none waits for another's."""
    registry.register("held")
    with ThreadPoolExecutor(24) as pool:
        with stopped(registry_folder):
            began = time.monotonic()
            calls = [pool.submit(registry.register, f"{number}", timeout=0.5) for number in range(24)]
            errors = [call.exception() for call in calls]
            waited = time.monotonic() - began
        assert {type(error) for error in errors} <= {Timeout, adsum.SystemBusy}
        # One after the other they would take 12 s.
        assert waited < 5
    registry.update_health("held", "degraded")
    assert len(registry) == 1


def test_what_timed_out_is_settled(registry: Registry, registry_folder: Path) -> None:
    """After a timeout a lookup says how it went: nothing that was not there is there later."""
    registry.register("held")
    for number in range(20):
        with stopped(registry_folder):
            with pytest.raises(Timeout):
                registry.register(f"{number}", timeout=0.01)
            seen = registry.lookup(f"{number}")
        registry.update_health("held", "degraded")
        assert registry.lookup(f"{number}") == seen


def test_a_registrar_killed_while_it_is_stopped(registry: Registry, registry_folder: Path) -> None:
    """A call under way at a stopped registrar is carried out by the next one, when the stopped one is killed."""
    registry.register("held")
    with ThreadPoolExecutor(1) as pool, stopped(registry_folder) as pid:
        call = pool.submit(registry.register, "new")
        with Caller(registry_folder) as caller:
            caller.send(hello())
        os.kill(pid, signal.SIGKILL)
        assert call.result(10).entry.revision == 2
    assert registry.audit() == []


def test_no_member_is_late_because_the_registrar_was_stopped(registry: Registry, registry_folder: Path) -> None:
    """Heartbeats that came while it was stopped are read before lateness is noted, every time."""
    registration = registry.register("a", heartbeat=0.3)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(6):
            registration.heartbeat()
            with stopped(registry_folder):
                sign = pool.submit(registration.heartbeat)
                began = time.monotonic()
                eventually(lambda began=began: time.monotonic() > began + 1)  # type: ignore[misc]
            sign.result(10)
    registry.register("b")
    assert registry["a"].revision == 1
    assert registry["b"].revision == 2


def test_a_stopped_client_hurts_no_other(registry: Registry, registry_folder: Path) -> None:
    """A registered process that is stopped with calls under way stays registered, and others go on."""
    with Agent(registry_folder) as agent:
        agent.do("registry.register('stopped')")
        agent.do("futures = [registry.register_nowait(f'late-{n}', custom={'x': 'y' * 1000}) for n in range(500)]")
        agent.stop()
        for number in range(100):
            registry.register(f"{number}")
        assert registry.lookup("stopped")
        agent.resume()
        assert agent.value("[f.result(30).process_id.local_id for f in futures]") == [f"late-{n}" for n in range(500)]
    eventually(lambda: registry.stats().entries == 100)


def read_for_ever(folder: str) -> None:
    """In a child: read all of the registry over and over."""
    with adsum.open(path=folder) as registry:
        print("reading", flush=True)
        while True:
            registry.audit()


def test_a_stopped_reader_hurts_no_other(registry_folder: Path) -> None:
    """A reader that is stopped inside a read blocks no writer, and finishes its read when it goes on."""
    limits = Limits(max_memory_bytes=4 * 1024 * 1024)
    with adsum.open(path=registry_folder, timeout=10, limits=limits) as registry:
        registry.register_many([(f"{number}", {"custom": {"x": "y" * 200}}) for number in range(1000)])
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(Child(read_for_ever, registry_folder)) for _ in range(3)]
            for reader in readers:
                reader.expect("reading")
                reader.stop()
            pid = registrar_pid(registry_folder)
            for turn in range(3000):
                registry.update(f"{turn % 1000}", custom={"x": "z" * 200})
                assert turn % 100 or registrar_pid(registry_folder) == pid
            size = sum(path.stat().st_blocks * 512 for path in registry_folder.rglob("data.mdb"))
            assert size < 2 * limits.max_memory_bytes + 64 * 1024 * 1024
            for reader in readers:
                reader.resume()
                assert reader.process.poll() is None
        assert len(registry) == 1000
        assert registry.audit() == []


def test_a_process_that_only_reads_starts_nothing(registry_folder: Path) -> None:
    """A process that only reads makes no folder and starts no registrar, whether there is a registry or not."""
    with Agent(registry_folder) as reader:
        assert reader.value("(registry.find(), registry.count(), registry.lookup('x'), registry.audit())") == (
            [], 0, None, [],
        )  # fmt: skip
        assert reader.value("registry.stats().registrar_pid") is None
        assert not registry_folder.exists()

        with adsum.open(path=registry_folder, timeout=10) as registry:
            registry.register("known", capabilities={"work"})
            kill_registrar(registry_folder)
            assert reader.value("registry['known'].pid") == os.getpid()
            assert reader.value("len(registry.find(capability='work'))") == 1
            assert reader.value("registry.audit()") == []
            assert reader.value("registry.stats().registrar_pid") is None
            assert reader.value("registry.departures()") == []
        assert registrar_pid(registry_folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_caller_of_another_user(registry: Registry, registry_folder: Path) -> None:
    """A process of another user that reaches the socket is refused, by the kernel's credentials."""
    registry.register("known")
    try:
        for place in (registry_folder.parent, registry_folder):
            place.chmod(0o711)
        (registry_folder / "socket").chmod(0o666)
        with Child(call_as_another_user, registry_folder) as child:
            child.expect("permission_denied 65534")
            child.expect("hung up")
    finally:
        registry_folder.chmod(0o700)
    registry.update_health("known", "healthy")


def call_as_another_user(folder: str) -> None:
    """In a child: become the user `nobody`, send a hello, and return the answer."""
    os.setgid(65534)
    os.setuid(65534)
    with Caller(Path(folder)) as caller:
        caller.send(hello())
        answer = caller.reply()
        if isinstance(answer, wire.Failed):
            print(answer.reason, os.geteuid() if str(os.geteuid()) in answer.message else answer.message)
        eventually(caller.is_dropped)
        print("hung up")
