"""Descriptions, versions, protocols and what members are doing, on the command line."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

import adsum
from adsum import Registry
from adsum.cli.run.metadata import MetadataOptions

from .command import ADSUM, Command
from .terminal import Terminal

OPTIONS = (
    *("--description", "Plans.\nWell.", "--version", "1.2", "--protocol", "mcp", "--protocol", "a2a"),
    *("--doing", "reads the report"),
)
STATED = {"description": "Plans.\nWell.", "version": "1.2", "protocols": ["a2a", "mcp"], "doing": "reads the report"}


def described(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in STATED}


@pytest.fixture
def team(members: Registry) -> Registry:
    """A member that states all of them, one that states some, and one that states none."""
    members.register("planner", description="Plans.\nWell.", version="1.2", protocols={"mcp", "a2a"}, doing="reads")
    members.register("worker", version="2", custom={"version": "7"}, capabilities={"printing"})
    members.register("silent", custom={"doing": "nothing"})
    return members


def test_run_and_register_take_them(command: Command, members: Registry) -> None:
    """`run` and `register` store the description, the version, the protocols and what the program is doing."""
    answer = command("run", "me", *OPTIONS, "--", *ADSUM, "show", "me", "--json")
    assert described(json.loads(answer.out)["metadata"]) == STATED
    document = command.document("register", "other", str(os.getpid()), *OPTIONS)
    assert described(document["metadata"]) == STATED
    assert members["other"].metadata.protocols == {"a2a", "mcp"}


def test_the_version_of_adsum_is_asked_without_a_command(command: Command) -> None:
    """`adsum --version` and `adsum -V` print the version of adsum; after `run`, `register` and `update` --version takes
    that of the program, and after other commands it is that of adsum."""
    said = f"adsum {adsum.__version__}\n"
    assert [command(*words).out for words in (["--version"], ["-V"], ["ls", "--version"])] == [said] * 3
    for words in (["run", "x", "--version"], ["register", "x", "1", "--version"], ["update", "x", "--version"]):
        answer = command(*words)
        assert (answer.code, answer.out) == (2, "")
    run = command("run", "x", "--version", "3", "--", *ADSUM, "--version")
    assert run.out == said


def test_options_that_are_not_given_are_not_sent() -> None:
    """A registrar of an earlier version serves `run` and `register` without these options."""
    assert not STATED.keys() & MetadataOptions().fields().keys()
    assert STATED.keys() & MetadataOptions(doing="x").fields().keys() == {"doing"}


def test_update_takes_them(command: Command, team: Registry) -> None:
    """`update` replaces what its options name, '' is nothing, and with --merge protocols are added."""
    answer = command("update", "planner", "--doing", "writes 1.0", "--version", "2.0", "--description", "")
    assert answer.out == "default/here/planner is updated, revision 4\n"
    metadata = team["planner"].metadata
    assert (metadata.doing, metadata.version, metadata.description) == ("writes 1.0", "2.0", "")
    assert command("update", "planner", "--merge", "--protocol", "http").code == 0
    assert team["planner"].metadata.protocols == {"a2a", "http", "mcp"}
    assert command("update", "planner", "--protocol", "unix", "--doing", "").code == 0
    assert (team["planner"].metadata.protocols, team["planner"].metadata.doing) == (frozenset({"unix"}), "")
    assert command("update", "planner", "--set", "version=3.10", "--set", "protocols=a,b", "--set", "doing=7").code == 0
    assert described(team["planner"].to_dict()["metadata"]) == {
        "description": "",
        "version": "3.10",
        "protocols": ["a", "b"],
        "doing": "7",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["update", "planner", "--doing", "a\nb"], "metadata.doing: 'a\\nb' has the control character '\\n' at 1"),
        (["update", "planner", "--doing", "x", "--set", "doing=y"], "doing is given by --set, too"),
        (["update", "planner", "--version", "x" * 129], "metadata.version: "),
        (["register", "other", str(os.getpid()), "--protocol", "p" * 33], "metadata.protocols: "),
        (["run", "other", "--doing", "\x1b[2J", "--", "true"], "metadata.doing: "),
        (["ls", "--text", ""], "text='': give a non-empty string"),
    ],
    ids=range(6),
)
def test_mistakes_are_usage_errors(command: Command, team: Registry, arguments: list[str], said: str) -> None:
    """What breaks a bound has exit code 2 and changes nothing."""
    before = team.list_all()
    answer = command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert team.list_all() == before


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--text", "PLANS"), ["planner"]),
        (("--text", "print"), ["worker"]),
        (("--text", "reads"), ["planner"]),
        (("--text", "nothing"), []),
        (("--where", "version=1.2"), ["planner"]),
        (("--where", "version=7"), ["worker"]),
        (("--where", "custom.version=7"), ["worker"]),
        (("--where", "version!=2"), ["planner", "silent"]),
        (("--where", "protocols=mcp"), ["planner"]),
        (("--where", "protocols!=mcp"), ["silent", "worker"]),
        (("--where", "protocols=mcp version=2"), []),
        (("--where", "doing=reads"), ["planner"]),
        (("--where", "doing=nothing"), ["silent"]),
        (("--where", "description=''"), ["silent", "worker"]),
    ],
    ids=range(14),
)
def test_ls_lists_what_matches(command: Command, team: Registry, options: tuple[str, ...], ids: list[str]) -> None:
    """--text and --where take what members say about themselves, beside their own data."""
    assert sorted(one["process_id"]["local_id"] for one in command.document("ls", *options)) == ids


def test_wait_and_watch_take_a_text(command: Command, team: Registry) -> None:
    """`wait` and `watch` take --text."""
    assert command.document("wait", "--text", "reads", "--count", "1")[0]["metadata"]["version"] == "1.2"
    with command.start("watch", "--text", "report", "--since", "0") as watching:
        team.update("worker", doing="reads the report")
        line = watching.line()
    assert "worker" in line
    assert "doing none -> reads the report" in line


def test_ls_has_columns_where_a_member_states_something(command: Command, team: Registry) -> None:
    """In a pipe what is stated comes behind all other columns, so that words keep their places; descriptions are left
    to --json."""
    heading, planner, silent, worker = command("ls").out.splitlines()
    assert heading.split()[-4:] == ["ENDPOINT", "VERSION", "PROTOCOLS", "DOING"]
    assert planner.split()[-4:] == ["-", "1.2", "a2a,mcp", "reads"]
    assert silent.split()[-4:] == ["-", "-", "-", "-"]
    assert worker.split()[-4:] == ["-", "2", "-", "-"]
    team.unregister("planner")
    assert command("ls").out.splitlines()[0].split()[-2:] == ["ENDPOINT", "VERSION"]
    team.unregister("worker")
    assert command("ls").out.splitlines()[0].split()[-1] == "ENDPOINT"


@pytest.mark.parametrize(
    ("columns", "shown", "left_out"),
    [(170, "VERSION PROTOCOLS DOING DESCRIPTION", "Well"), (70, "ENDPOINT DOING", "VERSION"), (34, "PID UP", "DOING")],
)
def test_a_terminal_shows_what_there_is_room_for(
    command: Command, team: Registry, columns: int, shown: str, left_out: str
) -> None:
    """On a terminal the first line of a description is the last column; a narrow one leaves out what says least."""
    with Terminal([*ADSUM, "ls"], {**command.environment, "TERM": "xterm"}, columns=columns) as terminal:
        text = re.sub(r"\x1b\[\d+m", "", terminal.read())
    assert " ".join(text.splitlines()[0].split()).endswith(shown)
    assert left_out not in text
    assert ("Plans..." in text) == ("DESCRIPTION" in shown)


def test_show_prints_them(command: Command, team: Registry) -> None:
    """`show` has the whole description on one line, and a dash for what is not stated."""
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in command("show", "planner").out.splitlines())
    assert (shown["description"], shown["version"]) == ("Plans.\\nWell.", "1.2")
    assert (shown["protocols"], shown["doing"]) == ("a2a, mcp", "reads")
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in command("show", "silent").out.splitlines())
    assert {shown[name] for name in STATED} == {"-"}


def test_top_has_columns_where_a_member_states_something(command: Command, team: Registry) -> None:
    """`top` shows versions, protocols and what members are doing, and leaves out the columns that are empty."""
    lines = command("top").out.splitlines()
    heading = next(line for line in lines if line.startswith("ID "))
    assert heading.split()[-3:] == ["VERSION", "PROTOCOLS", "DOING"]
    planner = next(line for line in lines if line.startswith("planner "))
    assert planner.split()[-3:] == ["1.2", "a2a,mcp", "reads"]
    team.update("planner", doing="", protocols=())
    heading = next(line for line in command("top").out.splitlines() if line.startswith("ID "))
    assert heading.split()[-1] == "VERSION"


def test_top_shows_and_filters_what_members_do(command: Command, team: Registry) -> None:
    """On a terminal `top` has a column for what members do, cut where it is long, with whole ids; its filter takes the
    words of it and of descriptions."""
    team.update("worker", doing="prints " + "many pages " * 17)
    team.update("silent", description="Says little.")
    with Terminal([*ADSUM, "top"], {**command.environment, "TERM": "xterm"}, columns=100, lines=30) as terminal:
        terminal.expect("DOING")
        terminal.expect("prints many")
        assert max(len(line) for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown).splitlines()) <= 100
        terminal.type("/says\r")
        terminal.expect("1-1 of 1")
        terminal.type("/\x7f\x7f\x7f\x7fpages\r")
        terminal.expect("filter: pages")
        terminal.type("q")
