"""A program that uses a registry exits without warnings or errors, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.children import ROOT

# Functions run at exit in the opposite order of their registration: this one after the hooks of adsum.
OPEN = """
import atexit, sys
at_exit = lambda: None
atexit.register(lambda: at_exit())
import adsum
registry = adsum.open(path=sys.argv[1], timeout=10)
"""

PROGRAMS = {
    "registers": "registry.register('a')",
    "only reads": "registry.lookup('a'); registry.find(); len(registry)",
    "opens and does nothing": "",
    "registers without waiting": "registry.register_nowait('a').result()",
    "does not wait for the answer": "registry.register_nowait('a')",
    "registers its thread": "import threading; registry.register('a', threading.current_thread())",
    "registers a daemon": """
import threading
over = threading.Event()
thread = threading.Thread(target=over.wait, daemon=True)
thread.start()
registry.register('a', thread)
""",
    "drops the registry": "registry.register_nowait('a').result(); del registry",
    "leaves it in a cycle": "registry.register('a'); registry.itself = registry; del registry",
    "closes twice": "registry.register('a'); registry.close(); registry.close()",
    "keeps a registration": "kept = registry.register('a')",
    "calls in a daemon thread": """
import threading
started = threading.Event()
def call():
    while True:
        registry.get_or_register('a')
        registry.find()
        started.set()
threading.Thread(target=call, daemon=True).start()
started.wait()
""",
    "watches in a daemon thread": """
import threading
registry.register('a')
watch = registry.watch()
started = threading.Event()
def follow():
    for _ in watch:
        started.set()
threading.Thread(target=follow, daemon=True).start()
registry.register('b')
started.wait()
""",
    "keeps a watch": "watch = registry.watch(); registry.register('a'); next(watch)",
    "calls at exit": """
def at_exit():
    assert registry.update('a', endpoint='x').metadata.endpoint == 'x'
    assert registry.register_nowait('b').result(10).entry
    assert registry.wait_for('b', timeout=10).pid
    assert len(registry) == 2
    assert registry.unregister('a')
registry.register('a')
registry.register_nowait('c').result().unregister()
""",
    "joins a thread at exit": """
import threading
stop, started, over = threading.Event(), threading.Event(), threading.Event()
def beat():
    while not stop.is_set():
        registry.heartbeat('a')
        registry.update('a', endpoint='x')
        assert registry['a'].pid
        assert registry.find()
        started.set()
    for event in registry.watch(since=0):
        if event.kind == 'unregistered':
            break
def at_exit():
    stop.set()
    registry.unregister('b')
    thread.join()
registry.register('a', heartbeat=5.0)
registry.register('b')
thread = threading.Thread(target=beat, daemon=True)
thread.start()
started.wait()
""",
    "forks": """
import os, warnings
# Python 3.12 and later warn of each fork in a process with threads.
warnings.filterwarnings("ignore", ".*multi-threaded")
registry.register('a')
pid = os.fork()
registry.register(f'b{pid}')
if pid:
    assert os.waitpid(pid, 0)[1] == 0
""",
    "uses asyncio": """
import asyncio
async def main():
    async with adsum.open_async(path=sys.argv[1], timeout=10) as registry:
        await registry.register('a', asyncio.current_task())
        await asyncio.gather(*(registry.get_or_register('b') for _ in range(20)))
asyncio.run(main())
""",
    "leaves asyncio open": """
import asyncio
async def main():
    registry = adsum.open_async(path=sys.argv[1], timeout=10)
    await registry.register('a', asyncio.current_task())
    await registry.register('b')
asyncio.run(main())
""",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_ends_silently(registry_folder: Path, what: str) -> None:
    """With every warning an error and the interpreter's checks on, a program that never closes its registry, or closes
    it in an unusual way, writes nothing to stderr and exits with 0."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", f"{OPEN}\n{PROGRAMS[what]}", registry_folder],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
