"""What do the web pages cost, and how soon does a change reach a browser?

The server is `adsum web` in a process of its own, on the same two cores as the writer, the registrar and the browser.
Where Chromium is not installed, what needs it is left out.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import adsum
from harness import Row, fill, fresh_registry, microseconds, save, show, timed

MEMBERS = 1000
READS = 200
CHANGES = 200
PAGES = 100
WRITES = 1000
# Seconds between two changes whose way is measured: longer than the time for which changes are collected.
PAUSE = 0.15
CHANGES_PER_SECOND = 100
SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(registry: adsum.Registry) -> Iterator[int]:
    """`adsum web` of a registry; its port."""
    command = [sys.executable, "-m", "adsum.cli", "web", "--listen", "127.0.0.1:0", "--path", str(registry.folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r":(\d+)/", server.stdout.readline())
        assert found is not None
        yield int(found[1])
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)
        if server.stdout is not None:
            server.stdout.close()


def read_members(registry: adsum.Registry) -> Row:
    """`/api/members` with all members, over one connection."""
    with serving(registry) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def read(_: int) -> None:
            connection.request("GET", "/api/members")
            connection.getresponse().read()

        timed(read, list(range(20)))
        samples = timed(read, list(range(READS)))
        connection.close()
    return {"what": f"/api/members with {MEMBERS:,} rows", **microseconds(samples)}


class Stream:
    """A stream of a topic, read line by line."""

    def __init__(self, port: int, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.request("GET", path)
        self._answer = self._connection.getresponse()

    def line(self) -> bytes:
        return self._answer.readline()

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


# Opens as many streams as it is given, prints a line, and reads what comes until its standard input ends. A process of
# its own, as a browser is: threads of the writer's process would take the writer's interpreter lock for each change.
_PAGES = """
import http.client, selectors, sys
selector, kept = selectors.DefaultSelector(), []
for _ in range(int(sys.argv[2])):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", sys.argv[3])
    sock = connection.sock
    kept.append((connection, connection.getresponse()))
    selector.register(sock, selectors.EVENT_READ)
selector.register(sys.stdin, selectors.EVENT_READ)
print("open", flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is sys.stdin:
            sys.exit()
        if not key.fileobj.recv(65536):
            sys.exit("the server closed a stream")
"""


@contextlib.contextmanager
def open_pages(port: int) -> Iterator[None]:
    """Many pages of members, each with its stream of changes."""
    command = [sys.executable, "-c", _PAGES, str(port), str(PAGES), "/live?topic=members%3F"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pages:
        assert pages.stdout is not None
        pages.stdout.readline()
        yield
    assert pages.returncode == 0


def commit_to_stream(registry: adsum.Registry) -> Row:
    """From the return of an update, which is after its commit, until a client has its event."""
    samples = []
    with serving(registry) as port:
        stream = Stream(port, "/api/events")
        stream.line()
        for number in range(CHANGES):
            time.sleep(PAUSE)
            registry.update("agent-0000007", doing=f"step {number}")
            begin = time.perf_counter_ns()
            while f"step {number}".encode() not in stream.line():
                pass
            samples.append(time.perf_counter_ns() - begin)
        stream.close()
    return {"what": "from a commit until a client of /api/events has it", **microseconds(samples)}


def cost_for_writers(registry: adsum.Registry) -> Row:
    """Updates with no page, and with many pages open, in turn."""

    def write(number: int) -> None:
        registry.update("agent-0000009", custom={"n": number})

    alone, beside = [], []
    with serving(registry) as port:
        for _ in range(3):
            alone += timed(write, list(range(WRITES)))
            with open_pages(port):
                time.sleep(1)
                beside += timed(write, list(range(WRITES)))
    without, with_pages = microseconds(alone), microseconds(beside)
    row = {"what": f"update beside {PAGES} open pages", **with_pages, "p50 with none": without["p50"]}
    return {**row, "times": round(with_pages["p50"] / without["p50"], 3)}


def in_chromium(registry: adsum.Registry) -> list[Row]:
    """From a commit until a row shows it, from SIGKILL until a row has gone, and the processor time of the browser
    while changes come."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return []
    chromium = shutil.which("chromium")
    if chromium is None:
        return []
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with serving(registry) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator("#state[data-state=live]").wait_for()
            page.wait_for_timeout(2000)
            page.evaluate(_NOTE_CHANGES)
            shown = _changes_shown(registry, page.evaluate)
            gone = _deaths_shown(registry, page.evaluate)
            share = _processor_share(registry, _descendants(os.getpid(), "chromium"))
        finally:
            browser.close()
    return [shown, gone, share]


# Notes when a text appeared and when a row went, by the clock that Python has, too.
_NOTE_CHANGES = """() => {
  window.appeared = {}; window.went = {};
  const now = () => (performance.timeOrigin + performance.now()) * 1e6;
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.removedNodes)
        if (node.querySelector?.('.c-member a')) window.went[node.querySelector('.c-member a').textContent] = now();
      for (const node of change.addedNodes) {
        const said = node.textContent?.match(/step \\d+/);
        if (said) window.appeared[said[0]] ??= now();
      }
    }
  }).observe(document.getElementById('rows'), { childList: true, subtree: true });
}"""


def _changes_shown(registry: adsum.Registry, evaluate: Callable[[str], Any]) -> Row:
    begins = {}
    for number in range(CHANGES):
        time.sleep(PAUSE)
        registry.update("agent-0000003", doing=f"step {number}")
        begins[f"step {number}"] = time.time_ns()
    time.sleep(1)
    appeared = evaluate("window.appeared")
    samples = [int(appeared[text] - begin) for text, begin in begins.items() if text in appeared]
    return {"what": "from a commit until the row in Chromium shows it", **microseconds(samples)}


def _deaths_shown(registry: adsum.Registry, evaluate: Callable[[str], Any]) -> Row:
    begins = {}
    for number in range(CHANGES // 4):
        process = subprocess.Popen(["sleep", "60"])
        # Before all others in the list.
        registry.register(f"a-{number}", process)
        time.sleep(2 * PAUSE)
        begins[f"a-{number}"] = time.time_ns()
        process.kill()
        process.wait()
        time.sleep(2 * PAUSE)
    time.sleep(1)
    went = evaluate("window.went")
    samples = [int(went[name] - begin) for name, begin in begins.items() if name in went]
    return {"what": "from SIGKILL until the row in Chromium has gone", **microseconds(samples)}


def _processor_share(registry: adsum.Registry, pids: list[int]) -> Row:
    """The part of one core that the browser takes while so many changes a second come."""
    chance = random.Random(1)
    before, begin = _processor_seconds(pids), time.monotonic()
    number = 0
    while time.monotonic() - begin < SECONDS:
        number += 1
        registry.update(f"agent-{chance.randrange(MEMBERS):07}", doing=f"task {number}")
        time.sleep(max(0.0, begin + number / CHANGES_PER_SECOND - time.monotonic()))
    seconds = time.monotonic() - begin
    share = (_processor_seconds(pids) - before) / seconds
    what = f"one core taken by Chromium, {MEMBERS:,} rows, {CHANGES_PER_SECOND} changes a second"
    return {"what": what, "share": round(share, 4), "changes/s": round(number / seconds)}


def _processor_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _descendants(pid: int, name: str) -> list[int]:
    """The processes below this one whose command line has a name."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    named = []
    for one in found - {pid}:
        with contextlib.suppress(OSError):
            if name.encode() in Path(f"/proc/{one}/cmdline").read_bytes():
                named.append(one)
    return named


def main() -> Row:
    rows: list[Row] = []
    with fresh_registry() as registry:
        fill(registry, MEMBERS)
        rows += [measure(registry) for measure in (read_members, commit_to_stream, cost_for_writers)]
        rows += in_chromium(registry)
    show("web pages, microseconds", rows)
    print(f"  starlette {version('starlette')}, uvicorn {version('uvicorn')}")
    results: Row = {"rows": rows, "versions": [{name: version(name) for name in ("starlette", "uvicorn", "jinja2")}]}
    save("web", results)
    return results


if __name__ == "__main__":
    main()
