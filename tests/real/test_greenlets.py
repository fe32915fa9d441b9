"""adsum under gevent and eventlet: plain programs, and a web server whose workers are patched."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adsum import Registry

from ..process import patched
from ..support import WITHIN, Child, eventually, stopped
from ..support.children import ROOT

pytestmark = pytest.mark.real


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_a_patched_program(registry_folder: Path, library: str) -> None:
    """Every call works, and while one waits other greenlets go on."""
    pytest.importorskip(library)
    with Child(patched.run, library, registry_folder) as child:
        for step in patched.STEPS:
            child.expect(step)
        assert child.wait() == 0


@pytest.mark.parametrize("preload", [False, True])
def test_a_web_server_with_gevent(registry: Registry, tmp_path: Path, preload: bool) -> None:
    """A worker of ``gunicorn -k gevent`` registers, writes, reads and watches. It answers other requests while one of
    them waits, and its entry goes with it. This holds with ``--preload`` as well, where gevent patches the standard
    library after the application was imported."""
    pytest.importorskip("gevent")
    with _gunicorn(registry.folder, tmp_path, *["--preload"] * preload) as address:
        worker = _get(address, "/join")
        assert [entry.process_id.local_id for entry in registry.find(capability="web")] == [worker]
        assert _get(address, "/update") == worker
        waiting = [threading.Thread(target=_get, args=(address, "/slow")) for _ in range(3)]
        for thread in waiting:
            thread.start()
        with stopped(registry.folder):
            writing = threading.Thread(target=_get, args=(address, "/update"))
            writing.start()
            assert [_get(address, "/members") for _ in range(5)] == [worker] * 5
            assert writing.is_alive()
        writing.join()
        registry.register("event")
        for thread in waiting:
            thread.join()
        os.kill(registry[worker].pid, signal.SIGKILL)
        eventually(lambda: not registry.find(capability="web"))
        assert eventually(lambda: _get(address, "/join")) != worker


@contextmanager
def _gunicorn(folder: Path, tmp_path: Path, *options: str) -> Iterator[Path]:
    """A server with one gevent worker; the address of its socket."""
    address, log = tmp_path / "web", tmp_path / "log"
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"unix:{address}", *options]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--no-control-socket", "--graceful-timeout", "1", "tests.real.web_app:application"],
            cwd=ROOT,
            env={**os.environ, "WEB_APP_REGISTRY": str(folder)},
            stdout=output,
            stderr=output,
        )
    try:
        eventually(address.exists)
        yield address
    finally:
        server.terminate()
        server.wait(WITHIN)
        print(log.read_text())


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, address: Path) -> None:
        super().__init__("localhost", timeout=WITHIN)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WITHIN)
        self.sock.connect(str(self._address))


def _get(address: Path, path: str) -> str:
    connection = _Connection(address)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text
    finally:
        connection.close()
