"""`adsum watch`: a line for each change, as it happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from adsum import Registry
from adsum.model import Entry, Event, Kind, Revision
from tests.support import Child, end_registrar

from .command import ADSUM, Command


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


def _documents(watching: Child, number: int) -> list[Any]:
    return [json.loads(watching.line()) for _ in range(number)]


def _following(command: Command, *options: str) -> Child:
    """`adsum watch`, once it has shown the snapshot of a member that stands: what comes now is told."""
    watching = command.start("watch", "--snapshot", *options)
    assert "snapshot" in watching.line()
    return watching


def test_every_change_is_a_line(command: Command, members: Registry, child: Child) -> None:
    """Each change is a line of its own: when, what, who, and what is different."""
    members.register("planner")
    with _following(command) as watching:
        members.register("worker", child.process, capabilities={"thinking"})
        members.update("worker", capabilities={"thinking", "planning"}, resources={"gpu": 2})
        members.unregister("planner")
        child.kill()
        registered, updated, unregistered, died = (watching.line().split(maxsplit=3) for _ in range(4))
    assert registered[1:3] == ["registered", "worker"]
    assert registered[3].startswith(f"pid {child.pid}, agent, healthy, can thinking")
    assert updated[1:3] == ["updated", "worker"]
    assert updated[3].startswith("capabilities +planning; resources.gpu 2")
    assert unregistered[1:3] == ["unregistered", "planner"]
    assert died[1:3] == ["died", "worker"]
    assert "after the kernel's notice" in died[3]


def test_json_is_a_document_a_line(command: Command, members: Registry) -> None:
    """With --json each line is one document, with the entry, and the one before it where it goes on."""
    members.register("planner")
    with _following(command, "--json") as watching:
        members.update("planner", custom={"n": 1})
        members.unregister("planner")
        updated, unregistered = _documents(watching, 2)
    assert (updated["kind"], updated["id"], updated["revision"]) == ("updated", "default/here/planner", 2)
    assert updated["previous"]["metadata"]["custom"] == {}
    assert updated["entry"]["metadata"]["custom"] == {"n": 1}
    assert (unregistered["kind"], unregistered["previous"]) == ("unregistered", None)


def test_conditions_hold_for_what_is_told(command: Command, members: Registry) -> None:
    """Only of those is told for whom every condition holds; who begins or ceases to match comes or goes."""
    members.register("planner", capabilities={"planning"})
    with _following(command, "--capability", "planning", "--health", "healthy", "--json") as watching:
        members.register("other")
        members.update("other", capabilities={"planning"})
        members.update_health("planner", "degraded")
        told = [(event["kind"], event["id"].rpartition("/")[2]) for event in _documents(watching, 2)]
    assert told == [("registered", "other"), ("unregistered", "planner")]


def test_one_id_can_be_followed(command: Command, members: Registry) -> None:
    """With an id only what happens to that is told."""
    members.register("planner")
    with _following(command, "planner") as watching:
        members.register("other")
        members.update("planner", endpoint="http://x:1")
        assert "endpoint none -> http://x:1" in watching.line()


def test_since_takes_up_where_it_was(command: Command, members: Registry) -> None:
    """--since begins after a revision that was told before."""
    for local_id in ("a", "b", "c"):
        members.register(local_id)
    with command.start("watch", "--since", "1", "--json") as watching:
        assert [event["id"].rpartition("/")[2] for event in _documents(watching, 2)] == ["b", "c"]


def test_lagged_says_what_to_do(command: Command, members: Registry) -> None:
    """Where changes were missed one line says so, and what to do; with --snapshot those who stand follow."""
    members.register("planner")
    with command.start("watch", "--since", "1000", "--snapshot") as watching:
        assert "planner" in watching.line()
        lagged = watching.line()
        assert lagged.split()[1] == "lagged"
        assert "Read the entries again" in lagged
        assert watching.line().split()[1:3] == ["snapshot", "planner"]


def test_it_survives_the_registrar(command: Command, members: Registry) -> None:
    """When the registrar is killed the watch goes on with the next one, and nothing is missed."""
    members.register("planner")
    with _following(command, "--json") as watching:
        end_registrar(command.folder, signal.SIGKILL)
        members.register("other")
        (event,) = _documents(watching, 1)
    assert (event["kind"], event["id"]) == ("registered", "default/here/other")


def test_an_end_is_never_that_of_an_entry_of_a_former_registry(command: Command) -> None:
    """When the folder is removed and the registry made anew, an entry that died there has its own time of death, though
    another had the same incarnation before."""
    with command.start_listener("first") as first, command.start("watch", "--snapshot", "--json") as watching:
        first.line()
        _told(watching, "first")
        assert command("run", "old", "--", "true").code == 0
        old = _told(watching, "old", kind="died")
        shutil.rmtree(command.folder)
        with command.start_listener("first") as second:
            second.line()
            _told(watching, "first")
            assert command("run", "new", "--", "true").code == 0
            new = _told(watching, "new", kind="died")
    assert old["entry"]["incarnation"] == new["entry"]["incarnation"]
    assert datetime.fromisoformat(new["at"]) >= datetime.fromisoformat(new["entry"]["registered_at"])


def _told(watching: Child, local_id: str, kind: str | None = None) -> Any:
    """The next document about that id, and of that kind where one is given."""
    while True:
        (document,) = _documents(watching, 1)
        if document["entry"] and document["id"].endswith(f"/{local_id}") and kind in (None, document["kind"]):
            return document


def test_ctrl_c_ends_it_quietly(command: Command, members: Registry) -> None:
    """Ctrl-C ends it with 130 and nothing is said."""
    members.register("planner")
    with _following(command) as watching:
        watching.signal(signal.SIGINT)
        assert watching.process.communicate(timeout=10) == (b"", b"")
        assert watching.process.returncode == 130


def test_a_reader_who_leaves_ends_it(command: Command, members: Registry) -> None:
    """`adsum watch | head -1` ends when head does, though nothing more happens, as one that SIGPIPE ended."""
    members.register("planner")
    reader, writer = os.pipe()
    watching = subprocess.Popen(
        [*ADSUM, "watch", "--snapshot"], stdout=writer, stderr=subprocess.PIPE, env=command.environment
    )
    with watching:
        os.close(writer)
        assert b"planner" in os.read(reader, 4096)
        os.close(reader)
        assert watching.communicate(timeout=10)[1] == b""
    assert watching.returncode == 128 + signal.SIGPIPE


def test_what_was_registered_cannot_steer_it(command: Command, members: Registry) -> None:
    """Control characters in an entry are shown escaped, on one line."""
    members.register("planner")
    with _following(command) as watching:
        members.register("evil\x1b[2J", capabilities={"a\nb"})
        line = watching.line()
    assert "evil\\x1b[2J" in line
    assert "a\\nb" in line


def _entry(**metadata: Any) -> Entry:
    from adsum.model import EPOCH, Metadata, ProcessId

    return Entry(ProcessId("default", "here", "a"), 1, 2, 3, 4, EPOCH, EPOCH, 4, Metadata(**metadata))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, {"endpoint": "http://x"}, "endpoint none -> http://x"),
        ({"capabilities": frozenset("ab")}, {"capabilities": frozenset("bc")}, "capabilities +c -a"),
        ({"resources": {"a": 1, "b": 2}}, {"resources": {"b": 3}}, "resources.a removed; resources.b 2 -> 3"),
        ({}, {"custom": {"text": "x" * 100}}, f"custom.text {'x' * 57}..."),
        ({"custom": {"n": None}}, {"custom": {"n": [1]}}, "custom.n none -> [1]"),
        ({}, {"heartbeat": 5.0}, "heartbeat none -> 5.0"),
        ({}, {"node_affinity": ["n"]}, 'node_affinity [] -> ["n"]'),
        ({}, {"coordination_variables": frozenset("v")}, "coordination +v"),
        ({}, {"type": "service"}, "type agent -> service"),
        ({}, {"health_status": "degraded"}, "health healthy -> degraded (says so itself)"),
        ({}, {}, "written again, the same"),
    ],
)
def test_what_is_different_is_told(before: dict[str, Any], after: dict[str, Any], says: str) -> None:
    """Between an entry and the one before it, each field that differs is told, and no other."""
    from adsum.views.description import EventReport

    event = Event(Kind.updated, _entry(**after), Revision(5), _entry(**before))
    assert EventReport(event, departures=None).description() == says  # type: ignore[arg-type]
