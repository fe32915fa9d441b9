"""`adsum top`: the whole registry on one screen."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator

import pytest

import adsum
from adsum import Registry
from tests.support import WITHIN, Child, eventually, stopped

from .command import ADSUM, NODE, Command
from .terminal import Terminal

ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
FRAME = "\x1b[H"
ESCAPE = "\x1b"


class Top:
    """`adsum top` at a terminal: the last complete frame, and keys typed into it."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def until(self, *texts: str, without: str = "") -> str:
        """The first frame from now on that has all the texts, and not the other."""
        self.terminal.shown = ""
        frames = ""

        def shows() -> bool:
            nonlocal frames
            # The first part belongs to an earlier frame, and the last frame may be incomplete.
            self.terminal.expect(FRAME, times=max(2, self.terminal.shown.count(FRAME) + 1))
            frames = self.terminal.shown.rsplit(FRAME, 2)[-2]
            return all(text in frames for text in texts) and not (without and without in frames)

        eventually(shows)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frames)

    def type(self, keys: str) -> None:
        self.terminal.type(keys)

    def is_restored(self) -> bool:
        shown = self.terminal.shown
        return (
            self.terminal.modes() == self.terminal.modes_at_first
            and shown.rindex(LEAVE_SCREEN) > shown.rfind(FRAME)
            and SHOW_CURSOR in shown
        )


@pytest.fixture
def top(command: Command, members: Registry) -> Iterator[Top]:
    """`adsum top`, once it shows a registry with three members."""
    members.register("planner", type="coordinator", capabilities={"planning"})
    members.register("worker", capabilities={"thinking"}, health_status="degraded")
    members.register(("other", NODE, "guest"), type="service")
    environment = {**command.environment, "TERM": "xterm"}
    with Terminal([*ADSUM, "top"], environment, columns=120, lines=35) as terminal:
        terminal.expect("planner")
        yield Top(terminal)


def test_it_shows_members_and_figures(top: Top, command: Command) -> None:
    """The screen has the registry, its registrar, the members of every namespace, and their counts."""
    frame = top.until("guest")
    assert str(command.folder) in frame
    assert re.search(r"registrar +pid \d+ +up", frame)
    assert "default 2  other 1" in frame
    assert "agent 1" in frame
    assert "healthy 2  degraded 1  unhealthy 0" in frame
    assert re.search(rf"planner +{os.getpid()} +coordinator +healthy \d+s +planning", frame)
    assert f"other/{NODE}/guest" in frame


def test_changes_are_shown(top: Top, members: Registry) -> None:
    """New members appear and ended ones vanish, departures are listed with their cause, and changes are counted per
    second."""
    with Child("input()") as child:
        members.register("newcomer", child.process)
        top.until("newcomer")
        child.kill()
        frame = top.until("latest departures", "died", "default/here/newcomer")
    assert re.search(r"default/here/newcomer +died +pid \d+ after", frame)
    assert " died 0.0" not in frame
    assert not re.search(r"^newcomer ", frame, re.MULTILINE)


def test_a_late_heartbeat_is_shown(top: Top, members: Registry) -> None:
    """A member with a late heartbeat is marked, with the seconds that it is late."""
    members.register("silent", heartbeat=0.1)
    frame = top.until("silent", "unhealthy 1")
    assert re.search(r"silent +\d+ +agent +unhealthy \d+s late +\d+\.\ds late", frame)


def test_q_ends_it(top: Top) -> None:
    """q ends it with 0, and the terminal is restored."""
    top.type("q")
    top.terminal.read()
    assert top.terminal.process.wait(WITHIN) == 0
    assert top.is_restored()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(top: Top, number: signal.Signals) -> None:
    """A signal that asks to end ends it with 128 + n and no message, and the terminal is restored."""
    top.terminal.process.send_signal(number)
    top.terminal.read()
    assert top.terminal.process.wait(WITHIN) == 128 + number
    assert top.is_restored()
    assert "Traceback" not in top.terminal.shown


def test_ctrl_c_ends_it(top: Top) -> None:
    """Ctrl-C ends it with 130, and the terminal is restored."""
    top.type("\x03")
    top.terminal.read()
    assert top.terminal.process.wait(WITHIN) == 130
    assert top.is_restored()


def test_a_failure_restores_the_terminal(command: Command, members: Registry) -> None:
    """When it fails, the terminal is restored before the error is printed."""
    members.register("planner")
    code = """
import sys
from adsum.cli import main
from adsum.views import mirror
def fail(self):
    raise RuntimeError("a defect")
mirror.Mirror.rates = fail
sys.exit(main(["top"]))
"""
    environment = {**command.environment, "TERM": "xterm"}
    with Terminal([sys.executable, "-c", code], environment) as terminal:
        shown = terminal.read()
        assert shown.index(ENTER_SCREEN) < shown.index(LEAVE_SCREEN) < shown.index("a defect")
        assert terminal.modes() == terminal.modes_at_first


def test_a_filter_is_typed(top: Top) -> None:
    """/ and words show only the members that match; Enter keeps the filter, Esc clears it."""
    top.type("/think")
    assert "worker" in top.until("/think_", without="planner")
    top.type("\r")
    assert "1-1 of 1" in top.until("filter: think")
    top.type(ESCAPE)
    top.until("planner", "1-3 of 3")


def test_keys_of_a_filter_are_no_commands(top: Top) -> None:
    """While a filter is typed, q and s are letters, and Backspace deletes the last one."""
    top.type("/sqx\x7f")
    top.until("/sq_", without="planner")
    top.type(ESCAPE)
    top.until("planner")


def test_s_sorts_by_another_column(top: Top) -> None:
    """s sorts by the next column, r reverses the order."""
    top.type("s")
    frame = top.until("by health")
    assert frame.index("worker") < frame.index("planner")
    top.type("r")
    frame = top.until("by health reversed")
    assert frame.index("planner") < frame.index("worker")


def test_a_long_list_scrolls(top: Top, members: Registry) -> None:
    """Arrows, page keys, Home and End scroll a list that does not fit."""
    members.register_many([(f"member-{number:03}", {}) for number in range(100)])
    first = top.until("of 103", "member-000", without="member-099")
    rows = int(re.findall(r"1-(\d+) of 103", first)[0])
    top.type("\x1b[B")
    top.until(f"2-{rows + 1} of 103")
    top.type("G")
    top.until("-103 of 103", "guest", without="member-000")
    top.type("k")
    top.until("-102 of 103")
    top.type("\x1b[H")
    top.until(f"1-{rows} of 103", "member-000")


def test_it_fits_another_size(top: Top) -> None:
    """After a change of the window's size the screen fits at once; in a small window the members come first."""
    top.terminal.resize(60, 8)
    frame = top.until("1-3 of 3", without="registrar")
    assert max(len(line) for line in frame.splitlines()) <= 60
    assert "planner" in frame
    top.terminal.resize(150, 50)
    top.until("registrar", "HEARTBEAT")


@pytest.mark.parametrize(("columns", "lines"), [(1, 1), (5, 3), (20, 2), (300, 4)])
def test_no_size_is_too_small(top: Top, columns: int, lines: int) -> None:
    """It works on a terminal of any size, and shows everything again when there is room."""
    top.terminal.resize(columns, lines)
    top.until()
    top.terminal.resize(120, 35)
    top.until("planner", "registrar")


def test_ctrl_z_restores_the_terminal(command: Command, members: Registry) -> None:
    """Ctrl-Z stops it and restores the terminal; `fg` shows the screen again."""
    members.register("planner")
    environment = {**command.environment, "PS1": "$ ", "HISTFILE": "/dev/null", "TERM": "xterm"}
    with Terminal(["bash", "--norc", "--noediting", "-i"], environment, columns=120) as terminal:
        terminal.type(f"{' '.join(ADSUM)} top; echo code $?\n")
        terminal.expect("planner")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        assert terminal.shown.rindex(LEAVE_SCREEN) > terminal.shown.rindex("planner")
        terminal.type("stty | grep echo || echo as before; fg\n")
        terminal.expect("as before\r\n")
        terminal.expect(ENTER_SCREEN, times=2)
        terminal.expect("planner", times=terminal.shown.count("planner") + 1)
        terminal.type("q")
        terminal.expect(LEAVE_SCREEN, times=2)
        terminal.type("exit\n")
        terminal.process.wait(WITHIN)


def test_a_closed_terminal_ends_it(top: Top) -> None:
    """When the terminal is closed it ends, and does not spin."""
    top.terminal.hang_up()
    assert top.terminal.process.wait(WITHIN) == 128 + signal.SIGHUP


def test_it_works_while_the_registrar_is_stopped(command: Command, members: Registry) -> None:
    """It shows everything while the registrar is stopped, because it sends no request."""
    members.register("planner")
    with stopped(command.folder):
        assert "planner" in command("top").out


def test_it_creates_no_registry(command: Command) -> None:
    """Without a registry it says so with exit code 1, shows no figures in a pipe, and creates none."""
    answer = command("top")
    assert answer.code == 1
    assert "there is no registry" in answer.err
    assert answer.out == ""
    assert not command.folder.exists()


def test_a_pipe_gets_the_present_state_in_lines(command: Command, members: Registry) -> None:
    """In a pipe it prints the present state once, without escape sequences, and ends."""
    members.register("planner", heartbeat=100.0)
    members.unregister(members.register("gone").process_id)
    code, out, err = command("top")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert re.search(r"^planner +\d+ +agent +healthy \d+s +- +\d\.\ds of 100s +\d+s$", out, re.MULTILINE)
    assert re.search(r"default/here/gone  unregistered", out)


def test_json_is_one_document(command: Command, members: Registry) -> None:
    """With --json it prints one document: figures, members and departures."""
    members.register("planner", type="coordinator")
    members.unregister(members.register("gone").process_id)
    found = command.document("top")
    assert [entry["id"] for entry in found["entries"]] == ["default/here/planner"]
    assert (found["namespaces"], found["types"]) == ({"default": 1}, {"coordinator": 1})
    assert found["stats"]["revision"] == 3
    assert [(one["id"], one["how"]) for one in found["departures"]] == [("default/here/gone", "unregistered")]


def test_a_namespace_excludes_the_others(command: Command, members: Registry) -> None:
    """With --namespace it shows nothing of other namespaces."""
    members.register("planner")
    with adsum.open(path=command.folder, namespace="other", node=NODE, timeout=10) as others:
        others.register("guest")
        others.unregister(others.register("gone").process_id)
        found = command.document("top", "--namespace", "other")
        assert [entry["id"] for entry in found["entries"]] == ["other/here/guest"]
        assert [one["id"] for one in found["departures"]] == ["other/here/gone"]
        assert command.document("top", "--namespace", "default")["departures"] == []


def test_an_entry_cannot_control_the_terminal(top: Top, members: Registry) -> None:
    """Control characters in an entry are escaped."""
    members.register("evil\x1b[2J", capabilities={"[red]x[/red]"})
    frame = top.until("evil\\x1b[2J")
    assert "[red]x[/red]" in frame


LONG = "retrieval-agent-for-the-archive-of-2026-in-the-second-reading-room"


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (160, ["ID", "PID", "TYPE", "HEALTH", "CAPABILITIES", "HEARTBEAT", "AGE"]),
        (126, ["ID", "PID", "TYPE", "HEALTH", "CAPABILITIES", "AGE"]),
        (114, ["ID", "PID", "HEALTH", "CAPABILITIES", "AGE"]),
        (100, ["ID", "PID", "HEALTH", "AGE"]),
        (84, ["ID", "HEALTH"]),
    ],
)
def test_an_id_is_whole_while_other_columns_have_room(
    top: Top, members: Registry, columns: int, headings: list[str]
) -> None:
    """Other columns are left out where an id would have to be cut, and capabilities are cut before."""
    members.register(LONG, capabilities={"searching", "summarising", "translating"})
    # The numbers of columns are those for a pid of five digits.
    columns += max(len("PID"), len(str(os.getpid()))) - 5
    top.terminal.resize(columns, 35)
    frame = top.until(LONG, "1-4 of 4")
    shown = next(line for line in frame.splitlines() if line.startswith("ID "))
    assert shown.split() == headings
    assert max(len(line.rstrip()) for line in frame.splitlines()) <= columns


def test_an_id_longer_than_the_screen_takes_no_column(top: Top, members: Registry) -> None:
    """An id that no terminal of this width could show whole is cut, and the other columns stay."""
    members.register("x" * 200)
    frame = top.until("xxx", "1-4 of 4")
    shown = next(line for line in frame.splitlines() if line.startswith("ID "))
    assert shown.split() == ["ID", "PID", "TYPE", "HEALTH", "CAPABILITIES", "HEARTBEAT", "AGE"]
    assert f"other/{NODE}/guest" in frame


def test_gauges_are_shown_as_they_are_now(top: Top, members: Registry) -> None:
    """A column has the present values of gauges, where a member has some; setting one is no change of the registry."""
    busy = members.register("busy", gauges={"load": 0.5, "queue": 12})
    frame = top.until("load=0.5, queue=12")
    assert "GAUGES" in next(line for line in frame.splitlines() if line.startswith("ID "))
    busy.gauges["load"] = 0.75
    top.until("load=0.75, queue=12")
