"""`adsum metrics`, as a process that Prometheus scrapes."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")

from adsum import Registry
from tests.support import Child, registrar_pid

from .command import Command

SERVING = re.compile(r"serving (http://\S+/metrics) of (\S+)")


@pytest.fixture
def serving(command: Command) -> Iterator[tuple[Child, str]]:
    """`adsum metrics` on a free port, and its address."""
    with command.start("metrics", "--listen", "127.0.0.1:0") as child:
        said = SERVING.fullmatch(child.line())
        assert said is not None
        assert said[2] == str(command.folder)
        yield child, said[1]


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        return str(answer.read().decode())


def test_every_scrape_shows_the_present_state(members: Registry, serving: tuple[Child, str]) -> None:
    """Each scrape shows the registry as it is at that moment."""
    _, address = serving
    assert re.search(r"^adsum_up\{.*\} 0\.0$", _read(address), re.MULTILINE)
    assert "adsum_owners{" not in _read(address)
    assert "adsum_entries{" not in _read(address)
    members.register("planner")
    assert re.search(r"^adsum_up\{.*\} 1\.0$", _read(address), re.MULTILINE)
    assert "adsum_owners{" in _read(address)
    assert re.search(r'^adsum_entries\{.*namespace="default".*\} 1\.0$', _read(address), re.MULTILINE)
    members.unregister("planner")
    assert "adsum_entries{" not in _read(address)


def test_reading_starts_no_registrar(command: Command, serving: tuple[Child, str]) -> None:
    """A scrape of a registry without a registrar starts none."""
    _read(serving[1])
    assert registrar_pid(command.folder) is None
    assert not command.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ends_cleanly(command: Command, serving: tuple[Child, str], number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end it with 0 and no traceback, and free the port. Before it serves, it says that
    there is no registry."""
    child, address = serving
    _read(address)
    child.signal(number)
    out, err = child.process.communicate(timeout=10)
    said = f"adsum: there is no registry in {command.folder}\n"
    assert (child.process.returncode, out, err.decode()) == (0, b"", said)
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2].partition("/")[0]))):
        pass


def test_ends_while_a_client_is_connected(serving: tuple[Child, str]) -> None:
    """A client that connects and sends nothing does not keep it from ending."""
    child, address = serving
    port = int(address.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        child.signal(signal.SIGINT)
        assert child.wait() == 0


def test_a_port_in_use(command: Command) -> None:
    """Where the port is in use it ends with 3, and a message with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = command("metrics", "--listen", listen)
    assert (code, out) == (3, "")
    assert f"cannot listen on {listen}: Address already in use; choose another with --listen" in err


def test_nohup(command: Command) -> None:
    """Where SIGHUP was ignored from the start, as by nohup(1), it does not end at SIGHUP."""
    ignoring = "import runpy, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); sys.argv[0] = 'adsum'; "
    ignoring += "runpy.run_module('adsum.cli', run_name='__main__')"
    with Child(ignoring, "metrics", "--listen", "127.0.0.1:0", env=command.environment) as child:
        assert SERVING.fullmatch(child.line())
        # A signal that a stopped process ignores does not even become pending.
        child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        child.signal(signal.SIGHUP)
        pending = re.search(r"^ShdPnd:\t(\w+)$", Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
        child.signal(signal.SIGCONT)
        assert pending is not None
        assert int(pending[1], 16) == 0
        child.signal(signal.SIGTERM)
        assert child.wait() == 0


@pytest.mark.parametrize(
    "listen",
    [
        "9464",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:99999",
        ":9464",
        "[::1:9464",
        "::1]:9464",
        "::1:9464",
        "[]:9464",
    ],
)
def test_an_impossible_address(command: Command, listen: str) -> None:
    """An address that is not HOST:PORT has exit code 2 and a message with an example."""
    code, _, err = command("metrics", "--listen", listen)
    assert code == 2
    assert "such as 127.0.0.1:9464" in err


def test_once(command: Command, members: Registry) -> None:
    """With --once the metrics are printed, and nothing is served."""
    members.register("planner")
    code, out, err = command("metrics", "--once")
    assert (code, err) == (0, "")
    assert out.startswith("# HELP adsum_up ")
    assert re.search(r"^adsum_entries\{.*\} 1\.0$", out, re.MULTILINE)


def test_without_the_extra(command: Command, tmp_path: Path) -> None:
    """Where prometheus_client is missing, it names the package to install and ends with 3."""
    (tmp_path / "prometheus_client").mkdir()
    (tmp_path / "prometheus_client" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named prometheus_client', name='prometheus_client')\n"
    )
    command.environment["PYTHONPATH"] = str(tmp_path)
    code, out, err = command("metrics", "--once")
    assert (code, out) == (3, "")
    assert "pip install 'adsum[prometheus]'" in err
    assert command("--version").code == 0


def test_a_registry_that_cannot_be_read(command: Command, members: Registry) -> None:
    """If the folder is not private, the command fails before it serves anything."""
    members.register("planner")
    command.folder.chmod(0o777)
    try:
        code, _, err = command("metrics", "--once")
    finally:
        command.folder.chmod(0o700)
    assert code == 3
    assert str(command.folder) in err
