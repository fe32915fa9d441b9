"""The recipes of the how-to pages for frameworks, run as they are printed there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import adsum
from adsum import Registry
from tests.docs.page import blocks, write_files
from tests.support import eventually

from .test_worker_processes import BIN, free_port, running

pytestmark = pytest.mark.real
PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@pytest.fixture
def members(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The default registry of the recipes, which are in the working folder."""
    monkeypatch.setenv("ADSUM_DIR", str(registry_folder.parent))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    recipes = registry_folder.with_name("recipes")
    recipes.mkdir()
    for page in ("web-servers.md", "workers.md", "gevent.md", "asyncio.md"):
        write_files(PAGES / page, recipes, real=True)
    monkeypatch.chdir(recipes)
    with adsum.open(path=registry_folder.with_name("default"), timeout=10) as registry:
        yield registry


def check_team(members: Registry, capability: str, count: int, port: int, *, is_replaced: bool = True) -> None:
    """So many members answer at the port; one that is killed is gone, and the one that replaces it is found."""
    team = members.wait_for(capability=capability, health_status="healthy", count=count, timeout=60)
    assert {entry.endpoint for entry in team} == {f"http://127.0.0.1:{port}"}
    with urlopen(f"{team[0].endpoint}/", timeout=20) as response:
        assert response.status == 200
    killed = team[0].pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in {entry.pid for entry in members.find(capability=capability)})
    if is_replaced:
        eventually(lambda: members.count(capability=capability, health_status="healthy") == count, 60)


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian", "gunicorn"])
def test_fastapi(server: str, members: Registry, registry_folder: Path) -> None:
    """A FastAPI application is a member under each server, with the address at which it answers."""
    port = free_port()
    bind, host = ["--bind", f"127.0.0.1:{port}"], ["--host", "127.0.0.1", "--port", str(port)]
    Path("gunicorn.conf.py").unlink()
    options = {
        "uvicorn": [*host, "--workers", "2"],
        "hypercorn": [*bind, "--workers", "2"],
        "granian": ["--interface", "asgi", *host, "--workers", "2", "--respawn-failed-workers"],
        "gunicorn": ["-k", "uvicorn_worker.UvicornWorker", *bind, "--workers", "2"],
    }[server]
    with running(registry_folder, str(BIN / server), *options, "fastapi_app:app"):
        # hypercorn starts no worker in place of one that was killed.
        check_team(members, "api", 2, port, is_replaced=server != "hypercorn")
    eventually(lambda: len(members) == 0, 60)


def test_gunicorn(members: Registry, registry_folder: Path) -> None:
    """The hooks of gunicorn register each worker, and unregister it at an orderly end."""
    port = free_port()
    command = [str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--workers", "2"]
    Path("plain.py").write_text("def application(e, start):\n    start('200 OK', [])\n    return [b'ok']\n")
    with running(registry_folder, *command, "plain"):
        check_team(members, "web", 2, port)
    eventually(lambda: len(members) == 0, 60)
    assert "unregistered" in {one.how for one in members.departures()}


def test_uwsgi(members: Registry, registry_folder: Path) -> None:
    """Each worker of uWSGI registers after its fork; the one that replaces a dead one gets its id."""
    port = free_port()
    command = [str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    command += ["--enable-threads", "--die-on-term", "--virtualenv", str(BIN.parent), "--wsgi-file", "uwsgi_app.py"]
    with running(registry_folder, *command):
        check_team(members, "web", 2, port)
        assert {entry.process_id.local_id for entry in members.find()} == {"web-1", "web-2"}
    eventually(lambda: len(members) == 0, 60)


def test_celery(members: Registry, registry_folder: Path) -> None:
    """A worker of Celery is a member, and says which task it runs."""
    Path("queue").mkdir()
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--concurrency", "1"]
    with running(registry_folder, *command, "--without-gossip", "--without-mingle"):
        (worker,) = members.wait_for(capability="tasks", count=1, timeout=60)
        code = "import celery_tasks; celery_tasks.wait_for.apply_async(['go'])"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        eventually(lambda: members[worker.process_id].metadata.doing == "celery_tasks.wait_for", 60)
        members.register("go")
        eventually(lambda: members[worker.process_id].metadata.doing == "", 60)
        os.kill(worker.pid, signal.SIGKILL)
        eventually(lambda: worker.process_id not in members)
        members.wait_for(capability="tasks", count=1, timeout=60)


@pytest.mark.parametrize(
    ("recipe", "printed"),
    [
        ("loky_pool.py", "True\n"),
        ("dask_workers.py", "True\nTrue\n0\n"),
        ("ray_actors.py", "True\nTrue\n"),
    ],
)
def test_a_pool(recipe: str, printed: str, members: Registry) -> None:
    """The workers of loky, Dask and Ray are members for as long as they live."""
    done = subprocess.run([sys.executable, recipe], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(printed), done.stdout
    eventually(lambda: len(members) == 0, 60)


@pytest.mark.parametrize(("page", "recipe"), [("gevent.md", "gevent_member.py"), ("asyncio.md", "trio_member.py")])
def test_a_program(page: str, recipe: str, members: Registry) -> None:
    """The programs for gevent and trio print what their pages show."""
    (shown,) = [block.output for block in blocks(PAGES / page, real=True) if block.text.startswith(f"# {recipe}\n")]
    done = subprocess.run([sys.executable, recipe], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr
    eventually(lambda: len(members) == 0, 60)
