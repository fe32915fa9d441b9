"""`adsum.asgi.lifespan` in a real server: the process that serves is a member, with the address at which it listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import adsum
from adsum import Entry, HealthStatus, Registry
from adsum.asgi.listening import listening_sockets
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def members(registry_folder: Path) -> Iterator[Registry]:
    """The default registry of the servers, opened in this process."""
    with adsum.open(path=registry_folder.with_name("default"), timeout=10) as registry:
        yield registry


class Server:
    """A server in a session of its own."""

    def __init__(self, folder: Path, *options: str, **popen: Any) -> None:
        self.ready = folder.with_name("ready")
        environment = {**os.environ, "ADSUM_DIR": str(folder.parent), "PYTHONPATH": str(ROOT)}
        environment |= {"ASGI_TEST_READY": str(self.ready), **popen.pop("env", {})}
        command = [sys.executable, "-m", "uvicorn", "tests.process.asgi_app:app", "--log-level", "warning", *options]
        self.process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True, **popen
        )

    def say(self, word: str) -> None:
        """What the application answers when it is asked whether it is ready."""
        new = self.ready.with_name("new")
        new.write_text(word)
        new.rename(self.ready)

    def stop(self) -> str:
        """End it in order; what it has printed."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return str(errors)


@contextlib.contextmanager
def serving(members: Registry, *options: str, **popen: Any) -> Iterator[Server]:
    server = Server(members.folder, *options, **popen)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.communicate()


def healthy(members: Registry, count: int = 1) -> Sequence[Entry]:
    return members.wait_for(capability="api", health_status="healthy", count=count, timeout=30)


def fetched(entry: Entry) -> Any:
    """What the member answers at its endpoint."""
    with urlopen(f"{entry.endpoint}/", timeout=10) as response:
        return json.load(response)


def test_the_endpoint_is_the_one_at_which_it_listens(members: Registry) -> None:
    """With port 0 the entry has the port that the kernel chose, and the process that registered answers there."""
    with serving(members, "--port", "0") as server:
        (entry,) = healthy(members)
        assert entry.pid == server.process.pid
        assert entry.metadata.heartbeat is not None
        answer = fetched(entry)
        assert answer == {"pid": entry.pid, "members": [f"api-{entry.pid}"], "own": "state", "inner": ["started"]}
        assert server.stop() == ""
    assert [one.how for one in members.departures()] == ["unregistered"]


def test_a_server_that_is_killed(members: Registry) -> None:
    """A server that is killed is found no more, and its entry has died."""
    with serving(members, "--port", "0") as server:
        healthy(members)
        server.process.kill()
        eventually(lambda: members.find(capability="api") == [])
        eventually(lambda: [one.how for one in members.departures()] == ["died"])


def test_it_is_unhealthy_until_it_is_ready(members: Registry) -> None:
    """The health follows the answers of the application: booleans, statuses, errors, and none in time."""
    members.folder.with_name("ready").write_text("False")
    with serving(members, "--port", "0") as server:
        (entry,) = members.wait_for(capability="api", count=1, timeout=30)
        assert entry.metadata.health_status == "unhealthy"
        eventually(lambda: members[entry.process_id].endpoint is not None)
        assert members.choose(capability="api") is None
        words: list[tuple[str, HealthStatus]] = [
            ("True", HealthStatus.healthy),
            ("degraded", HealthStatus.degraded),
            ("raise", HealthStatus.unhealthy),
            ("healthy", HealthStatus.healthy),
            ("hang", HealthStatus.unhealthy),
            ("True", HealthStatus.healthy),
            ("purple", HealthStatus.unhealthy),
        ]
        for said, status in words:
            server.say(said)
            assert members.wait_for(entry.process_id, health_status=status, timeout=30).pid == entry.pid
        printed = server.stop()
    assert "the database is away" in printed
    assert "purple" in printed


def test_it_is_not_found_healthy_before_it_listens(members: Registry) -> None:
    """No member is ever healthy without an endpoint at which it answers."""
    with members.watch(capability="api") as watch, serving(members, "--port", "0"):
        healthy(members)
        states: list[tuple[str, bool]] = []
        while not states or states[-1][0] != "healthy":
            event = watch.next(timeout=10)
            assert event.entry is not None
            states.append((str(event.entry.metadata.health_status), event.entry.endpoint is not None))
    assert states == [("unhealthy", False), ("healthy", True)]


def test_a_unix_socket(members: Registry, tmp_path: Path) -> None:
    """A server that listens at a Unix socket has its path as its endpoint."""
    path = os.path.relpath(tmp_path / "socket")
    with serving(members, "--uds", path):
        (entry,) = healthy(members)
        assert entry.endpoint == f"unix:{path}"


@pytest.mark.parametrize("address", ["0.0.0.0", "::1", "::"])
def test_an_inherited_socket(address: str, members: Registry) -> None:
    """A server that inherits its socket has its address as its endpoint; all interfaces are reached at the loopback."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        with serving(members, "--fd", str(listener.fileno()), pass_fds=[listener.fileno()]):
            (entry,) = healthy(members)
            assert entry.endpoint == ("http://127.0.0.1" if address == "0.0.0.0" else "http://[::1]") + f":{port}"
            assert fetched(entry)["pid"] == entry.pid


def test_several_workers(members: Registry) -> None:
    """Each worker process is a member, and they have the same endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with serving(members, "--workers", "2", "--port", port) as server:
        team = healthy(members, 2)
        assert {entry.endpoint for entry in team} == {f"http://127.0.0.1:{port}"}
        assert server.process.pid not in {entry.pid for entry in team}
        os.kill(team[0].pid, signal.SIGKILL)
        eventually(lambda: team[0].pid not in {entry.pid for entry in members.find(capability="api")})
        eventually(lambda: len(members.find(capability="api", health_status="healthy")) == 2, 30)


def test_an_id_that_is_held(members: Registry) -> None:
    """Where the id is held, the application does not start, and the error says which process holds it."""
    members.register("api")
    server = Server(members.folder, "--port", "0", env={"ASGI_TEST_ID": "api"})
    _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode != 0
    assert f"is held by process {os.getpid()}" in errors
    assert members["api"].pid == os.getpid()


def test_without_a_socket(members: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """A process that listens nowhere, such as one of a test, is healthy without an endpoint after a while, and says so;
    with an endpoint that was given it is at once."""

    async def run() -> None:
        async with adsum.open_async(path=members.folder, timeout=10) as registry:
            options: Any = {"registry": registry, "capabilities": {"api"}}
            async with adsum.asgi.lifespan("a", bind_timeout=0.1, **options)(None) as state:
                assert state == {"adsum": registry}
                entry = await registry.wait_for("a", health_status="healthy", timeout=10)
                assert entry.endpoint is None
            assert "a" not in registry
            for endpoint in ("https://a:1", None):
                async with adsum.asgi.lifespan("a", endpoint=endpoint, **options)(None):
                    entry = await registry.wait_for("a", health_status="healthy", timeout=10)
                    assert entry.endpoint == endpoint
            # It stays open.
            await registry.register("b")

    assert not listening_sockets(), "another test has left a socket"
    asyncio.run(run())
    assert caplog.text.count("no endpoint was found") == 1


def test_wrong_arguments() -> None:
    """The health is not an argument, and seconds are positive."""
    with pytest.raises(TypeError, match="ready="):
        adsum.asgi.lifespan("a", health_status="healthy")
    for interval in (0, -1):
        with pytest.raises(ValueError, match="give seconds"):
            adsum.asgi.lifespan("a", interval=interval)
    with pytest.raises(ValueError, match="give seconds"):
        adsum.asgi.lifespan("a", bind_timeout=-1)


def test_which_sockets_count(tmp_path: Path) -> None:
    """Sockets that listen count, TCP before Unix; others, and those that are known, do not. The sockets stay open."""
    assert adsum.asgi.bound_endpoint() is None
    with (
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket() as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        unix.bind(os.path.relpath(tmp_path / "socket"))
        unix.listen()
        datagrams.bind(("127.0.0.1", 0))
        client.connect(tcp.getsockname())
        port = tcp.getsockname()[1]
        assert adsum.asgi.bound_endpoint("https") == f"https://127.0.0.1:{port}"
        assert len(listening_sockets()) == 2
        known = [one for one in listening_sockets() if str(port) in one.address]
        assert adsum.asgi.bound_endpoint(known=known) == f"unix:{os.path.relpath(tmp_path / 'socket')}"
        accepted, _ = tcp.accept()
        accepted.close()
