"""The service of the page about systemd, as it is printed there, before a real socket of sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.docs.page import write_files
from tests.support import eventually

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "systemd.md"


@pytest.fixture
def members(registry_folder: Path, tmp_path: Path) -> Iterator[Registry]:
    """The default registry of the service, whose files are in `tmp_path`."""
    write_files(PAGE, tmp_path)
    with adsum.open(path=registry_folder.with_name("default"), timeout=10) as registry:
        yield registry


@contextlib.contextmanager
def service(members: Registry, folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The service, started as systemd does."""
    environment = {**os.environ, "ADSUM_DIR": str(members.folder.parent), **variables}
    command = [sys.executable, "service.py"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager, and its name in NOTIFY_SOCKET."""
    path = os.path.relpath(tmp_path / "notify")
    name = f"\0adsum-test-{os.getpid()}" if request.param == "abstract" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name)
        receiver.settimeout(30)
        yield receiver, f"@{name[1:]}" if request.param == "abstract" else os.path.abspath(path)


def test_ready_watchdog_and_stopping(members: Registry, systemd: tuple[socket.socket, str], tmp_path: Path) -> None:
    """READY=1 comes when the service is found; then a heartbeat and WATCHDOG=1 in time; STOPPING=1 at its end."""
    receiver, name = systemd
    with service(members, tmp_path, NOTIFY_SOCKET=name, WATCHDOG_USEC="600000") as process:
        entry_id = f"default/{members.node}/service"
        assert receiver.recv(4096) == f"READY=1\nSTATUS=registered as {entry_id}".encode()
        entry = members["service"]
        assert (entry.pid, entry.metadata.heartbeat) == (process.pid, 0.6)
        for _ in range(3):
            assert receiver.recv(4096) == b"WATCHDOG=1"
        assert members["service"].metadata.last_health_check > entry.metadata.last_health_check
        process.terminate()
        while (said := receiver.recv(4096)) != b"STOPPING=1":
            assert said == b"WATCHDOG=1"
        assert process.wait(30) == 0
    assert "service" not in members


def test_a_service_that_hangs(members: Registry, systemd: tuple[socket.socket, str], tmp_path: Path) -> None:
    """A service that hangs sends no WATCHDOG=1, and shows as degraded; ended by its manager, it is gone."""
    receiver, name = systemd
    with service(members, tmp_path, NOTIFY_SOCKET=name, WATCHDOG_USEC="300000") as process:
        receiver.recv(4096)
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: members["service"].metadata.health_status != "healthy")
        receiver.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                receiver.recv(4096)
        assert process.poll() is None
        process.kill()
        process.wait()
    assert "service" not in members


def test_without_systemd(members: Registry, tmp_path: Path) -> None:
    """Started by hand, and by a manager that watches another process, the service promises no heartbeat."""
    for variables in ({}, {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}):
        with service(members, tmp_path, **variables) as process:
            entry = members.wait_for("service", timeout=30)
            assert entry.metadata.heartbeat is None
            process.terminate()
            assert process.wait(30) == 0, process.stderr
        assert "service" not in members
