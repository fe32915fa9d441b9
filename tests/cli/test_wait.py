"""`adsum wait`: waits until members are registered."""

from __future__ import annotations

import json
import signal

import pytest

from adsum import Registry
from tests.support import Child, stopped

from .command import Command, until_it_waits


def test_a_registered_id_is_shown_at_once(command: Command, members: Registry) -> None:
    """For an id that is registered, `wait` prints the same as `show`."""
    members.register("planner")
    assert command.document("wait", "planner")["id"] == "default/here/planner"
    assert command("wait", "planner").out.startswith("id ")


def test_it_waits_for_an_id(command: Command, members: Registry) -> None:
    """It ends when the id is registered, and prints the entry."""
    members.register("first")
    with command.start("wait", "planner", "--json") as waiting:
        until_it_waits(waiting)
        members.register("other")
        members.register("planner")
        assert waiting.wait() == 0
        out, _ = waiting.process.communicate()
    assert json.loads(out)["id"] == "default/here/planner"


def test_it_waits_for_a_team(command: Command, members: Registry) -> None:
    """With conditions and --count it ends when so many members match, and lists them as `ls` does."""
    members.register("a", capabilities={"thinking"})
    with command.start("wait", "--capability", "thinking", "--count", "2") as waiting:
        until_it_waits(waiting)
        members.register("b")
        members.register("c", capabilities={"thinking"})
        assert waiting.wait() == 0
        out, _ = waiting.process.communicate()
    assert [line.split()[0] for line in out.decode().splitlines()] == ["ID", "a", "c"]


def test_a_timeout_fails(command: Command, members: Registry) -> None:
    """When --timeout passes first the exit code is 1, with a message on standard error and nothing on standard
    output."""
    code, out, err = command("wait", "absent", "--timeout", "0.1")
    assert (code, out) == (1, "")
    assert err.startswith("adsum: default/here/absent was not registered within 0.1 s; wait longer with --timeout")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ((), "give an ID, conditions or --count"),
        (("planner", "--count", "2"), "not both"),
        (("--gone",), "--gone: give an ID"),
        (("planner", "--gone", "--type", "agent"), "neither conditions nor --count"),
        (("planner", "--gone", "--count", "1"), "neither conditions nor --count"),
        (("--count", "-1"), "0 or more"),
        (("planner", "--timeout", "0"), "above 0"),
        (("--capability", ""), "non-empty"),
    ],
)
def test_a_usage_error_does_not_wait(command: Command, typed: tuple[str, ...], says: str) -> None:
    """A usage error has exit code 2 and a message, and the command does not wait."""
    code, out, err = command("wait", *typed)
    assert (code, out) == (2, "")
    assert says in err


def test_ctrl_c_ends_it_quietly(command: Command, members: Registry) -> None:
    """Ctrl-C ends it with 130 and no message."""
    members.register("other")
    with command.start("wait", "planner") as waiting:
        until_it_waits(waiting)
        waiting.signal(signal.SIGINT)
        assert waiting.process.communicate(timeout=10) == (b"", b"")
        assert waiting.process.returncode == 130


def test_gone_needs_no_registrar(command: Command, members: Registry) -> None:
    """`wait --gone` sees a death while the registrar is stopped."""
    with Child("input()") as child:
        members.register("planner", child.pid)
        with command.start("wait", "--gone", "planner", "--timeout", "60") as waiting:
            until_it_waits(waiting)
            with stopped(members.folder):
                child.kill()
                assert waiting.line().endswith("/planner is gone")
                assert waiting.wait() == 0
