"""How soon does a page stop showing a worker that was killed? adsum's page, Flower and Ray's dashboard, in one run.

Each page is open in Chromium. A worker is killed at a random moment, and the page is asked at each frame whether it
still shows it as alive: Flower and Ray keep its row and change a word in it. A peer that is not here is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import Row, fresh_registry, in_milliseconds, save, show
from own_network import in_own_network
from peers import redis_server
from web import serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

KILLS = 10
PEERS = ("adsum", "flower", "ray")
NEEDED = {"adsum": ["starlette"], "flower": ["flower", "celery", "redis"], "ray": ["ray"]}
# For all of one peer. A page that still shows a worker after so many seconds is taken at this figure.
PEER_SECONDS, GONE_SECONDS = 600.0, 60.0
TASKS = "import celery\napp = celery.Celery(broker='redis+socket://{socket}')\n"
ROWS = "[...document.querySelectorAll('tr')]"
ROW = "row => row.innerText.includes(name) && row.innerText.includes(alive)"
SHOWS, SHOWS_NO_MORE = f"([name, alive]) => {ROWS}.some({ROW})", f"([name, alive]) => !{ROWS}.some({ROW})"


def main() -> Row:
    rows: list[Row] = []
    for peer in PEERS:
        missing = [name for name in NEEDED[peer] if importlib.util.find_spec(name) is None]
        if missing or shutil.which("chromium") is None:
            print(f"left out: {peer}, for want of {', '.join(missing or ['chromium'])} (requirements-bench-web.txt)")
            continue
        # Some of Ray's servers listen on every address: in a network of its own, where that is to be had.
        prefix = in_own_network() if peer == "ray" else []
        command = [*prefix, sys.executable, __file__, peer]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_SECONDS, check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
        if said:
            rows.append(
                {"page": f"{peer} {version(peer)}", **in_milliseconds(json.loads(said[0].removeprefix("SAID ")))}
            )
        else:
            print(f"left out: {peer}: {done.stderr.strip().splitlines()[-1:]}")
    show("from SIGKILL of a worker until the page in Chromium shows it as alive no more", rows)
    results: Row = {"rows": rows}
    save("web_peers", results)
    return results


def measure(peer: str) -> list[float]:
    """The seconds of each kill, in the process that has the peer."""
    return {"adsum": adsum_page, "flower": flower, "ray": ray_dashboard}[peer]()


def adsum_page() -> list[float]:
    with fresh_registry() as registry, contextlib.ExitStack() as stack:
        workers = {f"worker-{n}": stack.enter_context(subprocess.Popen(["sleep", "600"])) for n in range(KILLS)}
        for name, worker in workers.items():
            stack.callback(worker.kill)
            registry.register(name, worker)
        with serving(registry) as port:
            return seconds_in(f"http://127.0.0.1:{port}/", {name: one.pid for name, one in workers.items()}, "")


def flower() -> list[float]:
    """Workers of Celery, each a process of its own, with its default of a heartbeat every two seconds."""
    with redis_server() as redis, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        Path(folder, "tasks.py").write_text(TASKS.format(socket=redis))

        def start(*arguments: str, log: str) -> int:
            command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
            with open(Path(folder, log), "wb") as output:
                process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process.pid

        names = [f"worker-{n}" for n in range(KILLS)]
        port = _free_port()
        start("flower", "--address=127.0.0.1", f"--port={port}", log="flower")
        pids = {f"{name}@": start("worker", "-n", f"{name}@%h", "--pool=solo", log=name) for name in names}
        _wait_for_server(port)
        return seconds_in(f"http://127.0.0.1:{port}/workers", pids, "Online")


def ray_dashboard() -> list[float]:
    """Actors of one host, which none of them is restarted on."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    import ray

    with tempfile.TemporaryDirectory() as folder:
        context = ray.init(
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            num_cpus=1,
            log_to_driver=False,
            _temp_dir=folder,
            _node_ip_address="127.0.0.2",
        )

        class Agent:
            def pid(self) -> int:
                return os.getpid()

        remote: Any = ray.remote(max_restarts=0, num_cpus=0)(Agent)
        try:
            actors = {f"worker-{n}": remote.options(name=f"worker-{n}").remote() for n in range(KILLS)}
            pids = {name: ray.get(actor.pid.remote()) for name, actor in actors.items()}
            return seconds_in(f"http://{context.dashboard_url}/#/actors", pids, "ALIVE")
        finally:
            ray.shutdown()


def seconds_in(url: str, pids: dict[str, int], alive: str) -> list[float]:
    """Kill the worker of each name, and return how long a page still had a row with its name and the word `alive`."""
    chance = random.Random(4)
    with _page(url) as page:
        for name in pids:
            page.wait_for_function(SHOWS, arg=[name, alive], timeout=60_000)
        seconds = []
        for name, pid in pids.items():
            time.sleep(chance.uniform(1, 2))
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                _wait(page, name, alive)
            seconds.append(time.perf_counter() - began)
        return seconds


def _wait(page: Page, name: str, alive: str) -> None:
    from playwright.sync_api import TimeoutError as PageTimeoutError

    try:
        page.wait_for_function(SHOWS_NO_MORE, arg=[name, alive], timeout=GONE_SECONDS * 1000)
    except PageTimeoutError as error:
        raise TimeoutError from error


@contextlib.contextmanager
def _page(url: str) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(url)
            yield page
        finally:
            browser.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_for_server(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as sock:
            if not sock.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on {port}")


if __name__ == "__main__":
    if sys.argv[1:]:
        print("SAID " + json.dumps(measure(sys.argv[1])), flush=True)
    else:
        main()
