"""However the demo ends, it leaves no process and no folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from adsum import admin
from adsum_demo import workspace
from adsum_demo.witness import start_time
from tests.cli.terminal import Terminal
from tests.support import eventually

from .command import DEMO, Demo, until_line, wait_for


@pytest.mark.parametrize("words", ["0 agents", "9 agents"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(demo: Demo, words: str, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP, while agents start and while they work, leave no process and no folder."""
    with demo.start("--kills", "0") as child:
        list(until_line(child, words))
        os.killpg(child.pid, number)
        assert child.wait(30) == 128 + number
        assert demo.processes() == []
        assert demo.folders() == []


def test_the_command_starts_the_registrar(demo: Demo) -> None:
    """The registrar serves before an agent starts: an agent that is ended while it starts one would leave a process."""
    with demo.start("--kills", "0") as child:
        list(until_line(child, "0 agents"))
        (folder,) = demo.folders()
        header = admin.page_header(folder / "registry")
        assert header is not None
        started = [start_time(pid) for name in ("chaos", "coordinator") for pid in demo.processes(name)]
        assert all(one is None or header.registrar.start_time <= one for one in started)


def test_ctrl_c_at_a_terminal_leaves_nothing(demo: Demo) -> None:
    """After Ctrl-C under the live table no process and no folder remains, and the command says so."""
    with Terminal([*DEMO, "--kills", "3"], demo.environment, columns=100) as terminal:
        wait_for(terminal, "checker-2")
        terminal.type("\x03")
        wait_for(terminal, "nothing is left behind")
        assert terminal.process.wait(30) == 128 + signal.SIGINT
        assert demo.processes() == []
        assert demo.folders() == []


def test_no_process_outlives_a_killed_command(demo: Demo) -> None:
    """When the command itself is killed, all agents die with it, and the registrar exits by itself."""
    with demo.start("--kills", "0") as child:
        list(until_line(child, "9 agents"))
        child.kill()
    eventually(lambda: demo.processes() == [], within=30)


def test_the_death_of_chaos_ends_the_demo(demo: Demo) -> None:
    """When chaos is killed, its agents end too; the command reports that the job failed, and nothing remains."""
    with demo.start("--kills", "0") as child:
        list(until_line(child, "9 agents"))
        (chaos,) = demo.processes("chaos")
        os.kill(chaos, signal.SIGKILL)
        assert child.wait(30) == 1
        assert demo.processes() == []
        assert demo.folders() == []


def test_the_death_of_both_coordinators_ends_the_demo(demo: Demo) -> None:
    """When both coordinators are killed, the command reports that the job failed, and nothing remains."""
    with demo.start("--kills", "0") as child:
        list(until_line(child, "9 agents"))
        for pid in demo.processes("coordinator"):
            os.kill(pid, signal.SIGKILL)
        assert child.wait(30) == 1
        assert demo.processes() == []
        assert demo.folders() == []


def test_an_abandoned_folder_is_removed(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new demo removes the folder of one that was killed with SIGKILL."""
    monkeypatch.setenv("ADSUM_DIR", str(demo.base))
    with demo.start("--kills", "0") as child:
        list(until_line(child, "9 agents"))
        child.kill()
    (abandoned,) = demo.folders()
    eventually(lambda: demo.processes() == [], within=30)
    with workspace.open_workspace(None, None) as mine:
        assert not abandoned.exists()
        assert demo.folders() == [mine.folder]


def test_a_new_empty_folder_is_kept(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new folder that is not locked yet is kept; one that is old and still empty is removed."""
    monkeypatch.setenv("ADSUM_DIR", str(demo.base))
    (made := demo.base / "demo-made").mkdir()
    with workspace.open_workspace(None, None):
        assert made.exists()
    _make_old(made)
    with workspace.open_workspace(None, None):
        assert not made.exists()


def test_a_folder_in_use_is_kept(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo does not remove the folder of another that still runs, however old it is."""
    monkeypatch.setenv("ADSUM_DIR", str(demo.base))
    with workspace.open_workspace(None, None) as first:
        _make_old(first.folder)
        with workspace.open_workspace(None, None):
            assert first.folder.exists()


def _make_old(folder: Path) -> None:
    os.utime(folder, (time.time() - 3600,) * 2)
