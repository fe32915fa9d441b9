"""Servers and pools that fork or spawn workers: each worker registers, is found, dies, and is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from adsum import Registry
from tests.support import eventually

pytestmark = pytest.mark.real
BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
APP = "tests.real.worker_app"


@contextlib.contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, whose workers find the registry in `folder`; ended with all of its workers."""
    environment = {**os.environ, "ADSUM_TEST_FOLDER": str(folder), "PYTHONPATH": str(ROOT)}
    log = folder.with_name("server.log")
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield server
    except BaseException:
        print(log.read_text())
        raise
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def workers(registry: Registry) -> set[int]:
    return {entry.pid for entry in registry.find(capability="work")}


def answering(port: int) -> int:
    """The pid of the worker that answered a request."""
    with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        return int(response.read())


def answers(port: int) -> int | None:
    try:
        return answering(port)
    except OSError:
        return None


def check_workers(registry: Registry, port: int) -> None:
    """A worker that answers is found; killed, it is gone; the one that replaces it is found again."""
    eventually(lambda: answers(port), 60)
    first = answering(port)
    assert first in workers(registry)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: first not in workers(registry))

    def another_serves() -> bool:
        pid = answers(port)
        return pid is not None and pid != first and pid in workers(registry)

    eventually(another_serves, 60)
    assert registry.audit() == []


@pytest.mark.parametrize("options", [("--lazy-apps",), ()], ids=["lazy", "preforked"])
def test_uwsgi(options: tuple[str, ...], registry: Registry, registry_folder: Path) -> None:
    """uWSGI embeds Python, so `sys.executable` is uWSGI itself; its workers are forked before or after the import."""
    port = free_port()
    command = [str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    command += ["--die-on-term", "--need-app", "--virtualenv", str(BIN.parent), "--module", APP, *options]
    with running(registry_folder, *command):
        check_workers(registry, port)
    eventually(lambda: workers(registry) == set())


@pytest.mark.parametrize("options", [("--preload",), ()], ids=["preload", "plain"])
def test_gunicorn(options: tuple[str, ...], registry: Registry, registry_folder: Path) -> None:
    """gunicorn forks its workers, after the import with --preload and before it without."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", *options, APP]
    with running(registry_folder, *command):
        check_workers(registry, port)
    eventually(lambda: workers(registry) == set())


def register_here(folder: str) -> int:
    """In a worker of a pool: register the process that runs this."""
    os.environ["ADSUM_TEST_FOLDER"] = folder
    from tests.real import worker_app

    worker_app.register()
    return os.getpid()


def test_loky(registry: Registry, registry_folder: Path) -> None:
    """loky starts its workers with fork and exec, and replaces those that die."""
    code = """
import sys
from loky import get_reusable_executor
from tests.real.test_worker_processes import register_here
if __name__ == "__main__":
    pool = get_reusable_executor(max_workers=1, timeout=60)
    print(pool.submit(register_here, sys.argv[1]).result(60), flush=True)
    sys.stdin.readline()
    pool.shutdown(kill_workers=True)
"""
    program = registry_folder.with_name("program.py")
    program.write_text(code)
    with subprocess.Popen(
        [sys.executable, program, registry_folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pid = int(process.stdout.readline())
        assert workers(registry) == {pid}
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(60) == 0
    eventually(lambda: workers(registry) == set())


CELERY = """
from celery import Celery
from celery.signals import worker_process_init

app = Celery("app", broker="memory://", backend="cache+memory://")

@worker_process_init.connect
def register(**_):
    from tests.real import worker_app

    worker_app.register()
"""


def test_celery(registry: Registry, registry_folder: Path) -> None:
    """Celery's prefork workers register when they start; one that is killed is gone, and its successor is found."""
    registry_folder.with_name("celery_app.py").write_text(CELERY)
    command = [sys.executable, "-m", "celery", "--workdir", str(registry_folder.parent), "-A", "celery_app"]
    command += ["worker", "--pool", "prefork", "--concurrency", "2", "--without-gossip", "--without-mingle"]
    with running(registry_folder, *command):
        eventually(lambda: len(workers(registry)) == 2, 60)
        first = min(workers(registry))
        os.kill(first, signal.SIGKILL)
        eventually(lambda: first not in workers(registry))
        eventually(lambda: len(workers(registry)) == 2, 60)
    eventually(lambda: workers(registry) == set())
    assert registry.audit() == []
