"""`adsum ls` and `adsum show`: tables for people, and documents for programs."""

from __future__ import annotations

import base64
import os
import re
import sys
from datetime import UTC, datetime

import pytest

import adsum
from adsum import Entry, Metadata, Registry
from tests.support import Child, eventually

from .command import ADSUM, Command
from .terminal import Terminal


@pytest.fixture(autouse=True)
def _team(members: Registry) -> None:
    members.register("planner", type="coordinator", capabilities={"planning", "thinking"}, endpoint="http://x:1")
    members.register("worker-1", capabilities={"thinking"}, health_status="degraded")
    members.register(("other", "there", "guest"), capabilities={"thinking"})
    members.register(("default", "there", "worker-2"), capabilities={"planning"})


def _ids(command: Command, *options: str) -> list[str]:
    return [line.split()[0] for line in command("ls", *options).out.splitlines()[1:]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["planner", "worker-1", "default/there/worker-2"]),
        (("--capability", "thinking"), ["planner", "worker-1"]),
        (("-c", "thinking", "-c", "planning"), ["planner"]),
        (("--type", "agent"), ["worker-1", "default/there/worker-2"]),
        (("--health", "degraded"), ["worker-1"]),
        (("--node", "there"), ["worker-2"]),
        (("--namespace", "other"), ["other/there/guest"]),
        (("--limit", "1"), ["planner"]),
        (("--limit", "0"), []),
        (("--capability", "nothing"), []),
    ],
)
def test_ls_lists_the_members_that_match_every_condition(
    command: Command, options: tuple[str, ...], expected: list[str]
) -> None:
    """`ls` lists the members of one namespace that match every condition, in order of id."""
    assert _ids(command, *options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--sort", "load"), ["worker-1", "planner", "default/there/worker-2"]),
        (("--sort", "-load"), ["planner", "worker-1", "default/there/worker-2"]),
        (("--sort=-load", "--limit", "1"), ["planner"]),
        (("--sort", "nothing", "--sort", "load"), ["worker-1", "planner", "default/there/worker-2"]),
    ],
)
def test_ls_sorts_by_a_number(
    command: Command, members: Registry, options: tuple[str, ...], expected: list[str]
) -> None:
    """`ls --sort` lists by a number in the resources, up or down, and members without it last."""
    members.update("planner", resources={"load": 2})
    members.update("worker-1", resources={"load": 1.5})
    assert _ids(command, *options) == expected


def test_ls_refuses_an_empty_order(command: Command) -> None:
    """`ls --sort ''` is a usage error."""
    for word in ("", "-"):
        answer = command("ls", "--sort", word)
        assert answer.code == 2
        assert answer.err.startswith(f"adsum: --sort {word!r}: ")


def test_columns_are_aligned_and_complete_in_a_pipe(command: Command) -> None:
    """In a pipe every row has a word for every column, under its heading, and no escape sequence."""
    answer = command("ls", "--capability", "thinking", "--health", "degraded")
    heading, row = answer.out.splitlines()
    name, type, health, _checked, source, pid, _up, can, endpoint = row.split()
    assert (name, type, health, source, pid) == ("worker-1", "agent", "degraded", "process", str(os.getpid()))
    assert (can, endpoint) == ("thinking", "-")
    assert heading.index("PID") == row.index(str(os.getpid()))
    assert "\x1b" not in answer.out


def test_an_empty_list_prints_nothing(command: Command) -> None:
    """An empty list has exit code 0 and no output."""
    assert command("ls", "--namespace", "empty") == (0, "", "")


def test_json_has_every_field(command: Command) -> None:
    """`ls --json` is one list of entries with all their fields; times are ISO 8601 in UTC."""
    planner = command.document("ls", "--type", "coordinator")[0]
    # Its present gauges, in place of where they are in memory.
    assert {*planner} ^ {"id", *Entry.__struct_fields__} == {"gauges", "row_place", "host", "reach"}
    assert {*planner["metadata"]} == {*Metadata.__struct_fields__}
    assert planner["id"] == "default/here/planner"
    assert planner["process_id"] == {"namespace": "default", "node": "here", "local_id": "planner"}
    assert planner["pid"] == os.getpid()
    registered = datetime.fromisoformat(planner["registered_at"])
    assert registered.tzinfo == UTC
    assert registered <= datetime.now(UTC)


def test_json_sorts_sets_and_writes_bytes_as_base64(command: Command, members: Registry) -> None:
    """In JSON a set is a sorted list, bytes are base64, and text is UTF-8 in every locale."""
    members.register("rich", capabilities={"c", "a", "ü"}, custom={"raw": b"\xff\x00", "list": [1, None, "é"]})
    command.environment["PYTHONIOENCODING"] = "ascii"
    metadata = command.document("show", "rich")["metadata"]
    assert metadata["capabilities"] == ["a", "c", "ü"]
    assert metadata["custom"] == {"raw": base64.b64encode(b"\xff\x00").decode(), "list": [1, None, "é"]}


def test_an_empty_list_is_json_too(command: Command) -> None:
    """`ls --json` without members is an empty list."""
    assert command.document("ls", "--namespace", "empty") == []


def test_show_prints_every_field(command: Command) -> None:
    """`show` prints every field of an entry."""
    answer = command("show", "planner")
    shown = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert answer.code == 0
    assert shown["id"] == "default/here/planner"
    assert shown["type"] == "coordinator"
    assert shown["capabilities"] == "planning, thinking"
    assert shown["endpoint"] == "http://x:1"
    assert shown["process"].startswith(f"{os.getpid()}, ")


def test_show_of_an_absent_id_fails(command: Command) -> None:
    """`show` of an id that is not registered has exit code 1, a message on standard error, and no document."""
    for options in ((), ("--json",)):
        code, out, err = command("show", "absent", *options)
        assert (code, out) == (1, "")
        assert err.startswith("adsum: default/here/absent is not registered")


@pytest.mark.parametrize(
    "typed",
    [
        ("other/there/guest",),
        ("guest", "--namespace", "other", "--node", "there"),
    ],
)
def test_an_id_of_another_namespace_or_node(command: Command, typed: tuple[str, ...]) -> None:
    """An id of another namespace or node is typed whole, or completed by options."""
    assert command.document("show", *typed)["id"] == "other/there/guest"


def _late(members: Registry, local_id: str) -> None:
    """Register a member that sends no heartbeats, and wait until the registrar has marked it late."""
    members.register(local_id, heartbeat=0.1)
    eventually(lambda: members[local_id].metadata.health_status == "unhealthy")


def test_health_has_an_age_and_a_source(command: Command, members: Registry) -> None:
    """`ls` shows how long ago the health was set or confirmed, and its source."""
    _late(members, "silent")
    members.register("nurse")
    members.register("self").update_health("healthy")
    with Child("input()") as child:
        members.register("patient", child.process)
        members.update_health("patient", "degraded")
        rows = {line.split()[0]: line.split()[2:5] for line in command("ls").out.splitlines()}
    assert rows["ID"] == ["HEALTH", "CHECKED", "SOURCE"]
    assert [rows["silent"][0], rows["silent"][2]] == ["unhealthy", "registrar"]
    assert [rows["patient"][0], rows["patient"][2]] == ["degraded", "other"]
    assert (rows["nurse"][2], rows["self"][2]) == ("-", "process")
    assert all(rows[name][1].endswith("s") for name in ("silent", "patient", "nurse"))


def test_show_prints_the_heartbeat(command: Command, members: Registry) -> None:
    """`show` prints the promised heartbeat, the age of the last one, and that the registrar found it late."""
    _late(members, "silent")
    shown = dict(line.split(maxsplit=1) for line in command("show", "silent").out.splitlines())
    assert shown["health"].startswith("unhealthy ")
    assert shown["health"].endswith("(registrar: heartbeat late)")
    assert shown["heartbeat"].startswith("every 0.1 s, the last ")
    assert shown["heartbeat"].endswith(" s late")


def test_a_terminal_shows_health_in_one_column(command: Command, members: Registry) -> None:
    """On a terminal one column has status, age and source of the health."""
    _late(members, "silent")
    environment = {**command.environment, "TERM": "xterm"}
    with Terminal([*ADSUM, "ls", "--health", "unhealthy"], environment, columns=150) as terminal:
        shown = terminal.read()
    assert re.search(r"unhealthy \d+s \(registrar: heartbeat late\)", shown)


def test_ids_are_listed_in_the_order_of_their_numbers(command: Command, members: Registry) -> None:
    """`ls` lists agent-2 before agent-10, and so does --limit."""
    members.register_many(
        [(name, {"capabilities": ["order"]}) for name in ("agent-10", "agent-2", "agent-9b", "agent-9a")]
    )
    assert _ids(command, "-c", "order") == ["agent-2", "agent-9a", "agent-9b", "agent-10"]
    assert _ids(command, "-c", "order", "--limit", "1") == ["agent-2"]


def test_an_id_is_whole_while_other_columns_have_room(command: Command, members: Registry) -> None:
    """On a terminal the columns that may be left out make room for long ids, so that an id can be copied."""
    name = "retrieval-agent-for-the-archive-of-2026"
    members.register(name, capabilities={"searching", "summarising"}, endpoint="http://127.0.0.1:9001")
    with Terminal([*ADSUM, "ls"], {**command.environment, "TERM": "xterm"}, columns=60) as terminal:
        shown = re.sub(r"\x1b\[\d+m", "", terminal.read())
    assert name in shown
    assert "healthy" in shown


def test_all_times_are_local_and_say_so(command: Command, members: Registry) -> None:
    """`show` and `watch` print times in the zone of the user, with its distance to UTC."""
    command.environment["TZ"] = "XYZ-05:30"
    members.register("planner-2")
    shown = command("show", "planner-2").out
    times = re.findall(r"^(?:created|registered|updated) +(\S.*)$", shown, re.MULTILINE)
    assert len(times) == 3
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30", time) for time in times)
    with command.start("watch", "planner-2", "--snapshot") as watching:
        line = watching.line()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}\+05:30  snapshot ", line)


def test_slashes_in_a_local_id(command: Command, members: Registry) -> None:
    """A local id may have one slash; one with two is typed in full, or with --node or --namespace."""
    members.register("jobs/1", custom={"which": 1})
    members.register("jobs/1/a", custom={"which": 2})
    assert command.document("show", "jobs/1")["metadata"]["custom"] == {"which": 1}
    assert command.document("show", "default/here/jobs/1/a")["metadata"]["custom"] == {"which": 2}
    assert command.document("show", "jobs/1/a", "--node", "here")["metadata"]["custom"] == {"which": 2}
    assert command("show", "jobs/1/a").err.startswith("adsum: jobs/1/a is not registered")
    assert {"jobs/1", "default/here/jobs/1/a"} <= set(_ids(command))


def test_an_entry_cannot_control_the_terminal(command: Command, members: Registry) -> None:
    """Control characters in an entry are escaped, and [markup] is printed as it is."""
    members.register("evil\x1b[2J", capabilities={"a\nb", "[red]x[/red]"})
    out = command("ls", "-c", "a\nb").out
    assert "evil\\x1b[2J" in out
    assert "[red]x[/red],a\\nb" in out
    assert len(out.splitlines()) == 2


def test_no_two_ids_look_the_same(command: Command, members: Registry) -> None:
    """Control characters are escaped and backslashes doubled, so that no two ids look the same."""
    members.register("a\x1b")
    members.register("a\\x1b")
    assert _ids(command)[:2] == ["a\\x1b", "a\\\\x1b"]
    shown = [command("show", name).out.split()[1] for name in ("a\x1b", "a\\x1b")]
    assert shown == ["default/here/a\\x1b", "default/here/a\\\\x1b"]


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (100, ["ID", "TYPE", "HEALTH", "PID", "UP", "CAPABILITIES", "ENDPOINT"]),
        (60, ["ID", "HEALTH", "PID", "UP", "CAPABILITIES"]),
        (40, ["ID", "HEALTH", "PID"]),
        # There is no room for anything beside the ids: the other cells are below each.
        (28, ["ID"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns(
    command: Command, members: Registry, columns: int, headings: list[str]
) -> None:
    """A terminal that is too narrow for all columns shows fewer, and breaks no word."""
    members.register("a-rather-long-name", capabilities={"rather-long"}, endpoint="http://127.0.0.1:9001")
    with Terminal([*ADSUM, "ls"], {**command.environment, "TERM": "xterm"}, columns=columns) as terminal:
        heading, *rows = re.sub(r"\x1b\[\d+m", "", terminal.read()).splitlines()
    assert heading.split() == headings
    words = {word for row in rows for word in row.split()}
    assert {"planner", "worker-1", "default/there/worker-2", "healthy", "degraded"} <= words


def test_a_terminal_table_is_folded_and_not_cut(command: Command, members: Registry) -> None:
    """On a terminal, text that is too long for its column is folded, so that it can be copied whole."""
    long = "w" * 60
    members.register(long, capabilities={"long"})
    environment = {**command.environment, "TERM": "xterm"}
    program = [sys.executable, "-m", "adsum.cli", "ls", "-c", "long"]
    with Terminal(program, environment, columns=70) as terminal:
        shown = terminal.read()
    assert shown.count("w") == 60
    assert "\x1b[1m" in shown


def test_numbers_in_names_count_as_numbers(command: Command, members: Registry) -> None:
    """Capabilities, protocols and namespaces are in the order that people expect, as ids are: 2 before 10."""
    expected = ["gpu2", "gpu10", "gpu100"]
    members.register("worker", capabilities=set(expected), protocols=set(expected))
    for name in expected:
        with adsum.open(path=command.folder, namespace=name, timeout=10) as other:
            other.register("worker")
    listed = ",".join(expected)
    assert f" {listed} " in command("ls").out
    shown = command("show", "worker").out
    assert re.search(rf"^capabilities +{', '.join(expected)}$", shown, re.MULTILINE)
    assert re.search(rf"^protocols +{', '.join(expected)}$", shown, re.MULTILINE)
    assert command.document("show", "worker")["metadata"]["capabilities"] == expected
    namespaces = [line.split()[0] for line in command("namespaces").out.splitlines()[1:]]
    assert namespaces == ["default", *expected, "other"]
    once = command("top").out
    assert listed in once
    assert "gpu2 1  gpu10 1  gpu100 1" in once
