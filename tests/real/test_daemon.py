"""python-daemon: `DaemonContext` forks twice, closes every descriptor that it finds, and sets the umask to 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import WITHIN, eventually, registrar_pid

pytestmark = pytest.mark.real

# Its arguments: the folder, whether it registers before, whether it detaches.
PROGRAM = """
import sys, threading
import adsum, daemon

folder, before, detach = sys.argv[1], *(word == "True" for word in sys.argv[2:])
registry = adsum.open(path=folder, timeout=10)
if before:
    registry.register("before")
    watch = registry.watch("asked")
with daemon.DaemonContext(detach_process=detach):
    registry.register("after")
    if before:
        assert [event.entry.process_id.local_id for event in [watch.next(60)]] == ["asked"]
        registry.update("after", custom={"has": "seen it"})
    threading.Event().wait()
"""


def start(folder: Path, *, before: bool, detach: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, folder, str(before), str(detach)])


@pytest.fixture
def ended(registry: Registry) -> Iterator[None]:
    """The daemon is no child of the test: it is ended by the pid that its entry has."""
    yield
    if (entry := registry.lookup("after")) is not None:
        os.kill(entry.pid, signal.SIGKILL)
    eventually(lambda: registry.lookup("after") is None)


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("before", [True, False])
def test_a_daemon_that_detaches(before: bool, registry: Registry, registry_folder: Path) -> None:
    """What registered before it became a daemon ended with the process that it was; the daemon registers with the same
    object, is found, and is gone when it is killed."""
    with start(registry_folder, before=before, detach=True) as first:
        assert first.wait(WITHIN) == 0
        entry = registry.wait_for("after", timeout=WITHIN)
        assert entry.pid != first.pid
        assert registry.lookup("before") is None
    eventually(lambda: registry.stats().entries == 1)
    if before:
        registry.register("asked")
        eventually(lambda: registry["after"].metadata.custom == {"has": "seen it"})
    os.kill(entry.pid, signal.SIGKILL)
    eventually(lambda: registry.lookup("after") is None)
    assert registry.audit() == []


@pytest.mark.parametrize("before", [True, False])
def test_a_daemon_that_stays_in_its_process(before: bool, registry: Registry, registry_folder: Path) -> None:
    """A service manager's daemon does not fork: its entry from before stays, and its object goes on working after every
    descriptor was closed."""
    with start(registry_folder, before=before, detach=False) as process:
        assert registry.wait_for("after", timeout=WITHIN).pid == process.pid
        if before:
            assert registry["before"].pid == process.pid
            registry.register("asked")
            eventually(lambda: registry["after"].metadata.custom == {"has": "seen it"})
        process.terminate()
        process.wait(WITHIN)
    assert "after" not in registry
    assert "before" not in registry
    assert registry.audit() == []


@pytest.mark.usefixtures("ended")
def test_a_registry_that_a_daemon_makes_is_private(registry: Registry, registry_folder: Path) -> None:
    """The daemon's umask of 0 opens no file of the registry to others."""
    with start(registry_folder, before=False, detach=True) as first:
        first.wait(WITHIN)
        registry.wait_for("after", timeout=WITHIN)
    assert registrar_pid(registry_folder) is not None
    open_to_others = [path for path in registry_folder.rglob("*") if path.lstat().st_mode & 0o077]
    assert [path.name for path in open_to_others if not path.is_symlink()] == []
