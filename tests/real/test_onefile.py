"""A one-file program of PyInstaller: its loader unpacks it, and starts the process in which the program runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from adsum import Registry
from tests.support import WITHIN, Child, eventually, registrar_pid

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PROGRAM = """
import os, sys
import adsum

if __name__ == "__main__":
    adsum.freeze_support()
    registry = adsum.open(path=os.environ["ADSUM_TEST_FOLDER"], timeout=30)
    registry.register("agent")
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    registry.update("agent", custom={"asked": True})
    print("done", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file."""
    folder = tmp_path_factory.mktemp("onefile")
    source = folder / "agent.py"
    source.write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--onefile", "--noconfirm", "--log-level", "ERROR"]
    subprocess.run([*command, source], cwd=folder, check=True, timeout=280, capture_output=True)
    return folder / "dist" / "agent"


class Running(NamedTuple):
    """A one-file program that runs: the loader, and the pid that the program itself has."""

    loader: subprocess.Popen[str]
    pid: int

    def says(self) -> str:
        """What the program prints when it is given a line."""
        assert self.loader.stdin is not None
        assert self.loader.stdout is not None
        self.loader.stdin.write("\n")
        self.loader.stdin.flush()
        return self.loader.stdout.readline()


@contextlib.contextmanager
def running(program: Path, folder: Path) -> Iterator[Running]:
    """Both processes end with the block, if they have not yet."""
    # The loader leaves what it unpacked when it is killed.
    unpacked = folder.with_name("unpacked")
    unpacked.mkdir(exist_ok=True)
    environment = {**os.environ, "ADSUM_TEST_FOLDER": str(folder), "TMPDIR": str(unpacked)}
    pipe = subprocess.PIPE
    with subprocess.Popen([program], env=environment, stdin=pipe, stdout=pipe, text=True) as loader:
        assert loader.stdout is not None
        pid = int(loader.stdout.readline())
        pidfd = os.pidfd_open(pid)
        try:
            yield Running(loader, pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            loader.kill()


def test_the_member_is_the_process_in_which_the_program_runs(
    program: Path, registry: Registry, registry_folder: Path
) -> None:
    """It is found under the pid that it has itself, not under its loader's, and is gone at once when it is killed."""
    with running(program, registry_folder) as one:
        assert registry["agent"].pid == one.pid != one.loader.pid
        assert one.says() == "done\n"
        assert registry["agent"].metadata.custom == {"asked": True}
        os.kill(one.pid, signal.SIGKILL)
        eventually(lambda: registry.lookup("agent") is None)
        one.loader.wait(WITHIN)
    assert [departure.how for departure in registry.departures()] == ["died"]


def test_the_program_outlives_its_loader_and_stays_a_member(
    program: Path, registry: Registry, registry_folder: Path
) -> None:
    """SIGKILL to the loader, which is the process that `Popen` knows, ends neither the program nor its entry."""
    with running(program, registry_folder) as one:
        one.loader.kill()
        one.loader.wait(WITHIN)
        assert registry["agent"].pid == one.pid
        assert one.says() == "done\n"
        assert registry["agent"].metadata.custom == {"asked": True}
    eventually(lambda: registry.lookup("agent") is None)


def test_its_registrar_outlives_what_the_loader_unpacked(
    program: Path, registry: Registry, registry_folder: Path
) -> None:
    """The program is its own registrar, with an unpacked copy of its own that the loader removes; it serves on without
    it, other programs too."""
    with running(program, registry_folder) as one:
        pid = registrar_pid(registry_folder)
        assert pid is not None
        assert os.readlink(f"/proc/{pid}/exe") == str(program)
        assert one.says() == "done\n"
        assert one.says() == ""
        assert one.loader.wait(WITHIN) == 0
    eventually(lambda: not any(registry_folder.with_name("unpacked").iterdir()))
    with Child("import time; time.sleep(600)") as other:
        registry.register("other", other.pid)
        eventually(lambda: registry.stats().entries == 1)
        other.kill()
    eventually(lambda: registry.stats().entries == 0)
    assert registrar_pid(registry_folder) == pid
    assert "Error" not in (registry_folder / "registrar.log").read_text()
    assert registry.audit() == []
