"""Real programs that start a registrar: frozen ones, debugged ones, and those that a supervisor restarts."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Entry, Registry
from tests.support import end_registrar, eventually, registrar_pid

pytestmark = pytest.mark.real
BIN = Path(sys.executable).parent

APP = """
import os, sys, time
print("app", flush=True)
import adsum
{hook}
began = time.monotonic()
try:
    adsum.open(path=os.environ["ADSUM_TEST_FOLDER"], timeout=30).register("agent")
    print("registered", flush=True)
except adsum.AdsumError as error:
    print(error.reason, error, flush=True)
"""


def build(folder: Path, name: str, hook: str) -> Path:
    """A frozen program, made by PyInstaller."""
    source = folder / f"{name}.py"
    source.write_text(APP.format(hook=hook))
    command = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level", "ERROR"]
    subprocess.run([*command, source], cwd=folder, check=True, timeout=280, capture_output=True)
    return folder / "dist" / name / name


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two frozen programs, without `freeze_support` and with it."""
    folder = tmp_path_factory.mktemp("frozen")
    return {"plain": build(folder, "plain", ""), "own": build(folder, "own", "adsum.freeze_support()")}


def run(program: Path, folder: Path, **environment: str) -> list[str]:
    """The lines that a frozen program prints."""
    variables = {**os.environ, "ADSUM_TEST_FOLDER": str(folder), **environment}
    done = subprocess.run([program], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.timeout(600)
def test_a_frozen_program(programs: dict[str, Path], registry_folder: Path) -> None:
    """It is never started twice as itself: it says at once what to do, is its own registrar after `freeze_support`, and
    uses a Python that the user names."""
    began, message = run(programs["plain"], registry_folder)
    assert began == "app"
    assert message.startswith("registrar_unavailable")
    assert "adsum.freeze_support()" in message
    assert not (registry_folder / "registrar.log").exists()

    assert run(programs["own"], registry_folder) == ["app", "registered"]
    pid = registrar_pid(registry_folder)
    assert os.readlink(f"/proc/{pid}/exe") == str(programs["own"])
    end_registrar(registry_folder)

    assert run(programs["plain"], registry_folder, ADSUM_PYTHON=sys.executable) == ["app", "registered"]
    assert os.path.realpath(f"/proc/{registrar_pid(registry_folder)}/exe") == os.path.realpath(sys.executable)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        eventually(lambda: "agent" not in registry)
        assert [one.entry.process_id.local_id for one in registry.departures()] == ["agent", "agent"]


CLIENT = "import adsum, sys; r = adsum.open(path=sys.argv[1], timeout=10); r.register('app'); print('registered')"


def test_a_debugger_without_an_editor(registry_folder: Path, tmp_path: Path) -> None:
    """debugpy follows child processes, which then wait for an editor; the registrar comes up without it."""
    program = tmp_path / "program.py"
    program.write_text(CLIENT)
    command = [sys.executable, "-X", "frozen_modules=off", "-m", "debugpy", "--listen", "127.0.0.1:0", str(program)]
    done = subprocess.run([*command, str(registry_folder)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "registered\n", done.stderr
    pid = registrar_pid(registry_folder)
    assert pid is not None
    assert b"debugpy" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "debugpy" not in Path(f"/proc/{pid}/maps").read_text()


SUPERVISOR = """
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/supervisord.pid

[unix_http_server]
file = {folder}/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{folder}/supervisor.sock

[program:member]
command = {python} -m adsum.cli run member --path {registry} -- {python} -c "import time; time.sleep(600)"
stopsignal = KILL
autorestart = true
startsecs = 0
"""


@pytest.fixture
def supervisor(registry_folder: Path) -> Iterator[list[str]]:
    """The command line of supervisorctl for a supervisor that runs `adsum run member`."""
    folder = registry_folder.parent
    configuration = folder / "supervisor.conf"
    configuration.write_text(SUPERVISOR.format(folder=folder, python=sys.executable, registry=registry_folder))
    output = subprocess.DEVNULL
    process = subprocess.Popen([BIN / "supervisord", "-c", configuration], stdout=output, stderr=output)
    try:
        yield [str(BIN / "supervisorctl"), "-c", str(configuration)]
    finally:
        process.terminate()
        process.wait(30)


def is_held_by_another(registry: Registry, before: Entry) -> bool:
    entry = registry.lookup("member")
    return entry is not None and entry.pid != before.pid


def test_a_supervisor_that_kills(registry: Registry, supervisor: list[str]) -> None:
    """A restart by a supervisor that uses SIGKILL gets the name, time after time."""
    pids = set()
    for _ in range(3):
        entry = registry.wait_for("member", timeout=30)
        pids.add(entry.pid)
        subprocess.run([*supervisor, "restart", "member"], check=True, capture_output=True, timeout=60)
        eventually(functools.partial(is_held_by_another, registry, entry), 30)
    assert len(pids) == 3
    subprocess.run([*supervisor, "stop", "member"], check=True, capture_output=True, timeout=60)
    eventually(lambda: "member" not in registry)
