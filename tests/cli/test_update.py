"""`adsum update`."""

from __future__ import annotations

import pytest

from adsum import Registry

from .command import Command


@pytest.fixture(autouse=True)
def _planner(members: Registry) -> None:
    own = {"model": "small", "done": 1}
    members.register("planner", custom=own, capabilities={"x"}, resources={"gpu": 1}, gauges={"load": 0, "q": 1})


def test_set_replaces_fields(command: Command, members: Registry) -> None:
    """--set replaces a field whole, as `update` does, and the command prints the new revision."""
    assert command(
        *("update", "planner", "--set", "endpoint=tcp://here", "--set", "capabilities=a,b", "--set", "type=service"),
        *(
            "--set",
            "custom.stats.done=2",
            "--set",
            "custom.name=7up",
            "--set",
            "node_affinity=",
            "--set",
            "heartbeat=5",
        ),
    ) == (0, "default/here/planner is updated, revision 2\n", "")
    metadata = members["planner"].metadata
    assert metadata.endpoint == "tcp://here"
    assert metadata.capabilities == {"a", "b"}
    assert metadata.type == "service"
    assert metadata.custom == {"stats": {"done": 2}, "name": "7up"}
    assert (metadata.resources, metadata.node_affinity, metadata.heartbeat) == ({"gpu": 1}, [], 5.0)
    assert command("update", "planner", "--set", "endpoint=null").code == 0
    assert members["planner"].metadata.endpoint is None


def test_merge_and_add(command: Command, members: Registry) -> None:
    """--merge keeps what is not named, null removes, and --add adds to numbers."""
    answer = command(
        *("update", "planner", "--merge", "--set", "custom.model=null", "--set", "custom.task.n=7"),
        *("--set", "capabilities.x=null", "--set", "capabilities.y=true", "--set", "resources.cpu.fast=2"),
        *("--add", "custom.done=2", "--add", "resources.tokens=-0.5"),
    )
    assert answer.code == 0, answer.err
    metadata = members["planner"].metadata
    assert metadata.custom == {"done": 3, "task": {"n": 7}}
    assert metadata.capabilities == {"y"}
    assert metadata.resources == {"gpu": 1, "cpu.fast": 2, "tokens": -0.5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"1"', "1"),
        ("a b", "a b"),
        ("", ""),
    ],
)
def test_a_value_is_read_as_plain_data(command: Command, members: Registry, text: str, value: object) -> None:
    """A value is a number, true, false, null, JSON or text."""
    assert command("update", "planner", "--set", f"custom.x={text}").code == 0
    assert members["planner"].metadata.custom == {"x": value}


def test_json_is_the_new_entry(command: Command) -> None:
    """`update --json` prints the new entry."""
    document = command.document("update", "planner", "--add", "custom.done=1")
    assert document["metadata"]["custom"]["done"] == 2
    assert document["revision"] == 2


def test_another_revision_changes_nothing(command: Command, members: Registry) -> None:
    """--if-revision of the present entry succeeds; another one has exit code 3 and changes nothing."""
    assert command("update", "planner", "--if-revision", "1", "--add", "custom.done=1").code == 0
    answer = command("update", "planner", "--if-revision", "1", "--add", "custom.done=1")
    assert (answer.code, answer.out) == (3, "")
    assert "default/here/planner is at revision 2 now, not 1" in answer.err
    assert members["planner"].metadata.custom["done"] == 2


def test_a_gauge_is_set(command: Command, members: Registry) -> None:
    """--gauge sets a gauge, alone or after a change, and `show` prints the present values."""
    assert command("update", "planner", "--gauge", "load=0.7", "--gauge", "q=-2") == (
        0,
        "default/here/planner: load, q set\n",
        "",
    )
    assert members["planner"].gauges == {"load": 0.7, "q": -2.0}
    assert command("update", "planner", "--set", "endpoint=x", "--gauge", "load=1").code == 0
    assert (members["planner"].gauges, members["planner"].endpoint) == ({"load": 1.0, "q": -2.0}, "x")
    assert "load=1, q=-2" in command("show", "planner").out


def test_an_absent_id_fails(command: Command) -> None:
    """`update` of an id that is not registered has exit code 1, and advises commands."""
    answer = command("update", "absent", "--add", "custom.done=1")
    assert answer.code == 1
    assert "adsum run absent -- COMMAND" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --set, --add, --gauge or --doing"),
        (["--gauge", "load"], "give NAME=NUMBER"),
        (["--gauge", "load=x"], "give NAME=NUMBER"),
        (["--gauge", "load=1", "--gauge", "load=2"], "load is given twice"),
        (["--set", "endpoint=x", "--gauge", "lod=1"], "has no gauge 'lod'; it has 'load', 'q'"),
        (["--set", "gauges.load=1"], "metadata.gauges"),
        (["--set", "endpoint"], "give a name, = and a value"),
        (["--set", "=x"], "give a name, = and a value"),
        (["--set", "custom..x=1"], "a name is empty"),
        (["--set", "custom.x=1", "--set", "custom.x=2"], "custom.x is given twice"),
        (["--set", "custom.x=1", "--set", "custom.x.y=2"], "custom.x.y is given twice"),
        (["--set", "custom.x=[1"], "begins as JSON, but is none"),
        (["--set", "colour=red"], "metadata.colour: no such field"),
        (["--set", "capabilities.x=true"], "metadata.capabilities"),
        (["--add", "custom.done=x"], "'x' is no number of at most 64 bits"),
        (["--add", "custom.done=1", "--add", "custom.done=2"], "custom.done is given twice"),
        (["--add", "done=1"], "'done' is no path to a number; give custom.NAME"),
        (["--add", "custom.model=1"], "metadata.custom['model']: 'small' is no number"),
        (["--add", "custom.done=1", "--if-revision", "-1"], "--if-revision -1: give a revision"),
    ],
    ids=range(19),
)
def test_mistakes_are_usage_errors(command: Command, members: Registry, arguments: list[str], said: str) -> None:
    """A mistake has exit code 2, a message that says what to type, and changes nothing."""
    before = members["planner"]
    answer = command("update", "planner", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert members["planner"] == before
