"""The real `adsum` command, run as a user or a script runs it, on a registry of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import Child, eventually
from tests.support.processes import open_files

ADSUM = (sys.executable, "-m", "adsum.cli")
NODE = "here"

# Prints the signals that it receives, and ends at the end of its input, so that it ends with the test in every case. It
# prints them outside of the handlers: a handler that runs just before a blocking read begins would not interrupt it.
LISTENER = """
import os, select, signal, sys
heard, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), lambda number, frame: None)
print("ready", os.getpid(), flush=True)
while True:
    ready, _, _ = select.select([0, heard], [], [])
    if heard in ready:
        for number in os.read(heard, 100):
            print(signal.Signals(number).name, flush=True)
    elif not os.read(0, 100):
        break
"""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """`adsum` with `folder` as the default registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Without these two, the size comes from the terminal.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.environment = {**inherited, "ADSUM_DIR": str(folder.parent), "ADSUM_NODE": NODE, "NO_COLOR": "1"}

    def __call__(self, *arguments: str | os.PathLike[str], text: str = "") -> Answer:
        """Run it to its end, with `text` as its input."""
        done = subprocess.run(
            [*ADSUM, *arguments], input=text, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def document(self, *arguments: str) -> Any:
        """The JSON document that it prints with --json, whatever its exit code."""
        return json.loads(self(*arguments, "--json").out)

    def start(self, *arguments: str, **popen: Any) -> Child:
        """Start it in the background."""
        code = "import runpy, sys; sys.argv[0] = 'adsum'; runpy.run_module('adsum.cli', run_name='__main__')"
        return Child(code, *arguments, env=self.environment, **popen)

    def start_listener(self, local_id: str, *signals: str, options: tuple[str, ...] = (), **popen: Any) -> Child:
        """Start ``adsum run`` of a program that prints ``ready PID``, and then the signals that it receives."""
        program = (sys.executable, "-c", LISTENER, *signals)
        return self.start("run", local_id, *options, "--", *program, **popen)


def pid_of(ready: str) -> int:
    """The pid in the first line of a listener."""
    word, pid = ready.split()
    assert word == "ready"
    return int(pid)


def until_it_waits(waiting: Child) -> None:
    """Wait until the command has the registrar's doorbell, an eventfd."""
    eventually(lambda: any("eventfd" in file for file in open_files(waiting.pid).values()))
