"""Makes the pictures of the web pages in docs/images: ``make web-pictures``.

A team of real processes runs in namespaces of its own, so a picture has their processes and no others of the machine,
and a host name of its own. Needs Chromium, and the fonts Inter and JetBrains Mono for the same look everywhere
(Debian: chromium, fonts-inter, fonts-jetbrains-mono).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

import adsum
from adsum import Registry
from tests.support import eventually

from .browser import CHROMIUM, Shape, chromium, opened
from .server import Server
from .team import running, sleeping

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
FOLDER = Path("/dev/shm/adsum-1000/agents")
HOST = "build-7"
INSIDE = "inside"
# Processes that ended before: so many deaths are in the picture of the latencies.
ENDED = 60

LIGHT, DARK, PHONE = Shape(1280, 800, "light"), Shape(1280, 800, "dark"), Shape(360, 720, "light")
# Name, path, window, and whether the picture goes on below the window.
PICTURES = [
    ("members", "", LIGHT, False),
    ("members-dark", "?q=tokens%3E%3D3000+model%21%3Dlarge", DARK, False),
    ("team", "team?wanted=planning+coding:2+translation+browsing", LIGHT, False),
    ("registry", "registry", Shape(1280, 560, "dark"), False),
    ("member", f"members/default/{HOST}/coder-1", LIGHT, True),
    ("phone", "", PHONE, False),
]


def outside() -> int:
    """Run this module again in new namespaces of users, processes, mounts and host names."""
    if CHROMIUM is None:
        print("this needs chromium (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    arguments = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--uts", "--mount"]
    # By its name, because a picture has the command line.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [*arguments, "python", "-m", "tests.web.pictures", INSIDE]
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode


def inside() -> int:
    """Make the pictures."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    subprocess.run(["hostname", HOST], check=True)
    FOLDER.parent.mkdir(mode=0o700)
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    with (
        adsum.open(path=FOLDER, timeout=20) as registry,
        running(registry),
        _history(registry),
        Server(FOLDER) as server,
        chromium() as browser,
        _work(registry),
    ):
        for name, path, shape, whole in PICTURES:
            _take(browser, server, name, path, shape, whole=whole)
    adsum.admin.stop_registrar(FOLDER)
    return 0


@contextmanager
def _history(registry: Registry) -> Iterator[None]:
    """Members that came and went, and claims that are held."""
    for n in range(ENDED):
        process = sleeping()
        registry.register(f"job-{n}", process, capabilities={"one task"})
        process.kill()
        process.wait()
    registry.unregister("notifier")
    with sleeping() as tester:
        registry.register("tester-2", tester, capabilities={"testing"}, doing="third run of the suite")
        tester.kill()
        tester.wait()
    eventually(lambda: registry.departures(1)[0].exit is not None)
    with registry.claim("gpu-0"), registry.claim("coder-1"), registry.claim("coder-2"):
        yield


@contextmanager
def _work(registry: Registry) -> Iterator[None]:
    """A member that says what it does, several times a second."""
    ends = threading.Event()

    def work() -> None:
        done = 212
        while not ends.wait(0.13):
            done += 1
            registry.update("coder-2", doing=f"running the suite, {done} of 480")
            registry.set_gauge("coder-2", "load", 0.8 + (done % 7) / 50)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ends.set()
        worker.join()


def _take(browser: Browser, server: Server, name: str, path: str, shape: Shape, *, whole: bool) -> None:
    with opened(browser, server.url + path, shape) as page:
        page.wait_for_timeout(6500 if name == "registry" else 1200)
        page.screenshot(path=IMAGES / f"web-{name}.png", full_page=whole)


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(IMAGES.parents[1])
    sys.exit(inside() if sys.argv[1:] == [INSIDE] else outside())
