"""How a program ended, as the command shows it."""

from __future__ import annotations

import json
import signal

import pytest

from adsum import Registry, admin
from tests.process.people import no_registrar
from tests.support import Child, eventually, stopped

from .command import Command


@pytest.mark.parametrize(
    ("script", "exit", "code", "says"),
    [("exit 3", 3, 3, "exit code 3"), ("true", 0, 0, "exit code 0"), ("kill -9 $$", -9, 137, "killed by SIGKILL")],
)
def test_the_end_of_a_program(
    command: Command, members: Registry, script: str, exit: int, code: int, says: str
) -> None:
    """`run` reports how its program ended before it exits itself; `departures`, `top` and `watch` show it."""
    members.register("first")
    with command.start("watch", "--snapshot") as watching, command.start("watch", "--snapshot", "--json") as as_json:
        assert "snapshot" in watching.line()
        assert "snapshot" in as_json.line()
        assert command("run", "agent", "--", "sh", "-c", script).code == code
        assert [(one.how, one.exit) for one in members.departures(1)] == [("died", exit)]
        assert command("departures", "--limit", "1").out.splitlines()[1].split()[-1] == str(exit)
        assert command.document("departures", "--limit", "1")[0]["exit"] == exit
        assert says in command("top").out
        lines = [watching.line() for _ in range(2)]
        assert says in lines[-1]
        documents = [json.loads(as_json.line()) for _ in range(2)]
        assert [(one["kind"], one["exit"]) for one in documents] == [("registered", None), ("died", exit)]


def test_a_death_while_no_registrar_ran_is_noticed(command: Command, members: Registry) -> None:
    """Every view says that only the time is known at which such a death was noticed: the lifetime is an upper bound,
    and there is no figure of detection."""
    members.register("unregistered").unregister()
    with Child("input()") as child:
        members.register("w", child.pid)
        with no_registrar(members.folder):
            child.kill()
    members.register("next")
    (departed,) = [row for row in command("departures").out.splitlines() if row.startswith("w ")]
    _, how, at, _, lived, detection, _ = departed.split()
    assert (how, at[:2], lived[:2], detection) == ("died", "<=", "<=", "-")
    death, unregistered = command.document("departures")
    assert (death["how"], death["detection"], death["time_known"]) == ("died", None, False)
    assert (unregistered["how"], unregistered["detection"], unregistered["time_known"]) == ("unregistered", None, True)
    (line,) = [line for line in command("top").out.splitlines() if "default/here/w  died" in line]
    assert line.startswith("noticed ")
    assert ", died while no registrar ran" in line
    assert " after <=" in line
    with command.start("watch", "w", "--since", "0") as watching:
        assert [" after <=" in watching.line() for _ in range(2)] == [False, True]
    with command.start("watch", "w", "--since", "0", "--json") as watching:
        assert [json.loads(watching.line())["time_known"] for _ in range(2)] == [True, False]


def test_a_registrar_that_does_not_answer_does_not_hold_the_command(command: Command, members: Registry) -> None:
    """Where the registrar is stopped the exit stays unknown, and the exit code of `run` is still the program's."""
    members.register("first")
    with command.start("run", "agent", "--", "sh", "-c", "read line; exit 3") as running:
        eventually(lambda: "agent" in members)
        with stopped(members.folder):
            running.say("go on")
            assert running.process.wait(10) == 3


def test_a_watch_does_not_wait_for_an_exit_that_does_not_come(command: Command, members: Registry) -> None:
    """A process that its parent does not reap is reported all the same, without an exit, which is added nowhere."""
    members.register("first")
    with command.start("watch", "--snapshot", "--json") as watching, Child("input()") as child:
        assert "snapshot" in watching.line()
        owner = members.register("a", child.pid).entry.owner
        child.kill_unreaped()
        documents = [json.loads(watching.line()) for _ in range(2)]
        assert [(one["kind"], one["exit"]) for one in documents] == [("registered", None), ("died", None)]
        assert members.departures(1)[0].exit is None
        assert admin.report_exit(members.folder, owner, -signal.SIGKILL)
        assert command.document("departures", "--limit", "1")[0]["exit"] == -9
