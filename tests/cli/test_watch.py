"""`adsum watch`: one line for each change, as it happens."""

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
    """`adsum watch`, once it has printed the snapshot: later changes are events."""
    watching = command.start("watch", "--snapshot", *options)
    assert "snapshot" in watching.line()
    return watching


def test_every_change_is_a_line(command: Command, members: Registry, child: Child) -> None:
    """Each change is a line of its own: time, kind, id, and what changed."""
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
    assert "after the kernel reported the death" in died[3]


def test_json_is_a_document_per_line(command: Command, members: Registry) -> None:
    """With --json each line is one document with the entry, and the previous entry where there is one."""
    members.register("planner")
    with _following(command, "--json") as watching:
        members.update("planner", custom={"n": 1})
        members.unregister("planner")
        updated, unregistered = _documents(watching, 2)
    assert (updated["kind"], updated["id"], updated["revision"]) == ("updated", "default/here/planner", 2)
    assert updated["previous"]["metadata"]["custom"] == {}
    assert updated["entry"]["metadata"]["custom"] == {"n": 1}
    assert (unregistered["kind"], unregistered["previous"]) == ("unregistered", None)


def test_conditions_select_the_events(command: Command, members: Registry) -> None:
    """Only changes of matching entries are printed; an entry that starts or stops to match is registered or
    unregistered."""
    members.register("planner", capabilities={"planning"})
    with _following(command, "--capability", "planning", "--health", "healthy", "--json") as watching:
        members.register("other")
        members.update("other", capabilities={"planning"})
        members.update_health("planner", "degraded")
        printed = [(event["kind"], event["id"].rpartition("/")[2]) for event in _documents(watching, 2)]
    assert printed == [("registered", "other"), ("unregistered", "planner")]


def test_one_id_can_be_followed(command: Command, members: Registry) -> None:
    """With an id, only changes of that id are printed."""
    members.register("planner")
    with _following(command, "planner") as watching:
        members.register("other")
        members.update("planner", endpoint="http://x:1")
        assert "endpoint none -> http://x:1" in watching.line()


def test_since_continues_after_a_revision(command: Command, members: Registry) -> None:
    """--since starts after a revision that an earlier event had."""
    for local_id in ("a", "b", "c"):
        members.register(local_id)
    with command.start("watch", "--since", "1", "--json") as watching:
        assert [event["id"].rpartition("/")[2] for event in _documents(watching, 2)] == ["b", "c"]


def test_lagged_advises_to_read_again(command: Command, members: Registry) -> None:
    """Where changes were missed, one line says so and what to do; with --snapshot the present entries follow."""
    members.register("planner")
    with command.start("watch", "--since", "1000", "--snapshot") as watching:
        assert "planner" in watching.line()
        lagged = watching.line()
        assert lagged.split()[1] == "lagged"
        assert "Read the entries again" in lagged
        assert watching.line().split()[1:3] == ["snapshot", "planner"]


def test_it_survives_the_registrar(command: Command, members: Registry) -> None:
    """When the registrar is killed, the watch continues with the next one and misses nothing."""
    members.register("planner")
    with _following(command, "--json") as watching:
        end_registrar(command.folder, signal.SIGKILL)
        members.register("other")
        (event,) = _documents(watching, 1)
    assert (event["kind"], event["id"]) == ("registered", "default/here/other")


def test_an_end_is_never_that_of_an_earlier_registry(command: Command) -> None:
    """After the registry was removed and created again, an entry that dies has its own time of death, even if an
    earlier entry had the same incarnation."""
    with command.start("watch", "--snapshot", "--json") as watching:
        with command.start_listener("first") as first:
            first.line()
            _next_document(watching, "first")
            assert command("run", "old", "--", "true").code == 0
            old = _next_document(watching, "old", kind="died")
        # Its program would be registered anew.
        _next_document(watching, "first", kind="died")
        shutil.rmtree(command.folder)
        with command.start_listener("first") as second:
            second.line()
            _next_document(watching, "first")
            assert command("run", "new", "--", "true").code == 0
            new = _next_document(watching, "new", kind="died")
    assert old["entry"]["incarnation"] == new["entry"]["incarnation"]
    assert datetime.fromisoformat(new["at"]) >= datetime.fromisoformat(new["entry"]["registered_at"])


def _next_document(watching: Child, local_id: str, kind: str | None = None) -> Any:
    """The next document about this id, and of this kind where one is given."""
    while True:
        (document,) = _documents(watching, 1)
        if document["entry"] and document["id"].endswith(f"/{local_id}") and kind in (None, document["kind"]):
            return document


def test_ctrl_c_ends_it_quietly(command: Command, members: Registry) -> None:
    """Ctrl-C ends it with 130 and no message."""
    members.register("planner")
    with _following(command) as watching:
        watching.signal(signal.SIGINT)
        assert watching.process.communicate(timeout=10) == (b"", b"")
        assert watching.process.returncode == 130


def test_a_closed_pipe_ends_it(command: Command, members: Registry) -> None:
    """`adsum watch | head -1` ends when head does, without another change, and with the exit code of SIGPIPE."""
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


def test_an_entry_cannot_control_the_terminal(command: Command, members: Registry) -> None:
    """Control characters in an entry are escaped, on one line."""
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
        ({}, {"health_status": "degraded"}, "health healthy -> degraded (set by itself)"),
        ({}, {}, "written again, the same"),
    ],
)
def test_the_differences_are_printed(before: dict[str, Any], after: dict[str, Any], says: str) -> None:
    """Each field that differs from the previous entry is printed, and no other."""
    from adsum.views.description import EventReport

    event = Event(Kind.updated, _entry(**after), Revision(5), _entry(**before))
    assert EventReport(event, departures=None).description() == says  # type: ignore[arg-type]
