"""`adsum wait`: until somebody is there."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import Child, eventually

from .command import Command


def _until_it_listens(waiting: Child) -> None:
    """It waits once it has got the bell of the registrar, an eventfd besides its own."""

    def listens() -> bool:
        try:
            links = [str(fd.readlink()) for fd in Path(f"/proc/{waiting.pid}/fd").iterdir()]
        except FileNotFoundError:
            # One that was closed while the list was read.
            return False
        return sum("eventfd" in link for link in links) >= 2

    eventually(listens)


def test_who_is_there_is_shown_at_once(command: Command, members: Registry) -> None:
    """For an id that is registered, `wait` answers as `show` does."""
    members.register("planner")
    assert command.document("wait", "planner")["id"] == "default/here/planner"
    assert command("wait", "planner").out.startswith("id ")


def test_it_waits_for_an_id(command: Command, members: Registry) -> None:
    """It ends, with the entry, when the id is registered."""
    with command.start("wait", "planner", "--json") as waiting:
        _until_it_listens(waiting)
        members.register("other")
        members.register("planner")
        assert waiting.wait() == 0
        out, _ = waiting.process.communicate()
    assert json.loads(out)["id"] == "default/here/planner"


def test_it_waits_for_a_team(command: Command, members: Registry) -> None:
    """With conditions and --count it ends when so many are there, and lists them as `ls` does."""
    members.register("a", capabilities={"thinking"})
    with command.start("wait", "--capability", "thinking", "--count", "2") as waiting:
        _until_it_listens(waiting)
        members.register("b")
        members.register("c", capabilities={"thinking"})
        assert waiting.wait() == 0
        out, _ = waiting.process.communicate()
    assert [line.split()[0] for line in out.decode().splitlines()] == ["ID", "a", "c"]


def test_a_timeout_is_no(command: Command, members: Registry) -> None:
    """When --timeout passes first the exit code is 1, with a word on standard error and nothing on standard output."""
    code, out, err = command("wait", "nobody", "--timeout", "0.1")
    assert (code, out) == (1, "")
    assert err.startswith("adsum: default/here/nobody was not registered within 0.1 s; wait longer with --timeout")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ((), "give an ID, conditions or --count"),
        (("planner", "--count", "2"), "not both"),
        (("planner", "--type", "agent"), "not both"),
        (("--count", "-1"), "from 0 up"),
        (("planner", "--timeout", "0"), "above 0"),
        (("--capability", ""), "non-empty"),
    ],
)
def test_what_cannot_be_meant_is_told(command: Command, typed: tuple[str, ...], says: str) -> None:
    """A mistake has exit code 2 and a message, and nobody waits."""
    code, out, err = command("wait", *typed)
    assert (code, out) == (2, "")
    assert says in err


def test_ctrl_c_ends_it_quietly(command: Command, members: Registry) -> None:
    """Ctrl-C ends it with 130 and nothing is said."""
    members.register("other")
    with command.start("wait", "planner") as waiting:
        _until_it_listens(waiting)
        waiting.signal(signal.SIGINT)
        assert waiting.process.communicate(timeout=10) == (b"", b"")
        assert waiting.process.returncode == 130
