"""An absent registry is not an empty one, and a misspelt word gets a suggestion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from adsum.cli.app import build
from adsum.cli.notes import ADVISED

from .command import Answer, Command

PLACES_CODE = """
import sys
from adsum._store import locations
locations.DEFAULT_LOCATIONS = tuple(sys.argv[1:3])
from adsum.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    "typed",
    ["ls", "ls --json", "stats", "stats --json", "audit", "audit --json", "metrics --once", "top", "top --json"],
)
def test_an_absent_registry_is_not_an_empty_one(command: Command, typed: str) -> None:
    """A command that reads has exit code 1 and a message on standard error where there is no registry; it makes none.
    With --json it still prints a document."""
    code, out, err = command(*typed.split())
    assert code == 1
    assert err == f"adsum: there is no registry in {command.folder}\n"
    assert not command.folder.exists()
    if "--json" in typed:
        json.loads(out)
    assert "sound" not in out
    if "--json" not in typed and not typed.startswith("metrics"):
        # No figures: they would be those of an empty registry.
        assert out == ""


@pytest.mark.parametrize("typed", ["ls", "stats", "audit", "metrics --once", "top"])
def test_an_empty_registry_is_not_absent(command: Command, members: Registry, typed: str) -> None:
    """A registry without entries has exit code 0 and no message."""
    members.register("planner").unregister()
    code, _, err = command(*typed.split())
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "typed",
    [
        *("ls", "stats", "audit", "top", "metrics --once", "namespaces", "departures", "catalog", "hosts"),
        *("show planner", "unregister planner", "health planner healthy", "card planner"),
        *("wait x --timeout 0.1", "wait --capability x --timeout 0.1", "claim -c x --timeout 0.1 -- true"),
        *("registrar --stop", "bridge --status", "bridge --leave"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(command: Command, members: Registry, typed: str) -> None:
    """Where --name names no registry, the message names a similar one."""
    members.register("planner")
    name, *arguments = typed.split()
    code, _, err = command(name, "--name", "defualt", *arguments)
    assert code == 1
    assert "did you mean --name default?" in err
    assert not command.folder.with_name("defualt").exists()


@pytest.mark.parametrize("typed", ["bridge", "bridge --check"])
def test_a_bridge_of_a_misspelt_name(command: Command, members: Registry, typed: str) -> None:
    """Where no cluster is known for an absent registry, the error names a similar registry."""
    members.register("planner")
    code, _, err = command(*typed.split(), "--name", "defualt")
    assert code == 3
    assert "did you mean --name default?" in err
    assert not command.folder.with_name("defualt").exists()


@pytest.mark.parametrize("typed", ["doctor", "doctor --orphans"])
def test_the_checks_of_a_misspelt_name(command: Command, members: Registry, typed: str) -> None:
    """`adsum doctor` warns that there is no registry of the name, and names a similar one."""
    members.register("planner")
    checks = command.document(*typed.split(), "--name", "defualt")["checks"]
    (found,) = [one for one in checks if one["remedy"] == "did you mean --name default?"]
    assert found["level"] == "warning"
    assert found["says"] == f"there is no registry in {command.folder.with_name('defualt')}"


def test_upper_and_lower_case(command: Command, members: Registry) -> None:
    """A name and an id in another case are similar to the registered ones."""
    members.register("PLANNER")
    assert "did you mean --name default?" in command("ls", "--name", "DEFAULT").err
    assert command("show", "planner").err.endswith("; did you mean PLANNER?\n")


def test_a_misspelt_namespace_gets_a_suggestion(command: Command, members: Registry) -> None:
    """Where a namespace has no member, a similar one that has is named; where an id is not registered in the namespace,
    the same or a similar id of another one."""
    members.register("planner-1")
    code, out, err = command("ls", "--namespace", "defalt")
    assert (code, out) == (0, "")
    assert err == "adsum: no member is in the namespace defalt; did you mean --namespace default?\n"
    err = command("show", "planner-1", "--namespace", "defalt").err
    assert err.endswith("; did you mean planner-1 --namespace default?\n")
    with adsum.open(path=command.folder, namespace="other", node="there", timeout=10) as other:
        other.register("guest")
    assert command("show", "guest").err.endswith("; did you mean other/there/guest?\n")
    err = command("show", "guest", "--node", "here").err
    assert err.endswith("; did you mean guest --namespace other --node there?\n")
    assert command("show", "guest", "--namespace", "other", "--node", "there").code == 0


def test_an_empty_namespace_is_an_answer(command: Command, members: Registry) -> None:
    """A namespace without members, and unlike those with some, gets no message."""
    members.register("planner-1")
    assert command("ls", "--namespace", "robots") == (0, "", "")


@pytest.mark.parametrize(
    ("typed", "advised"),
    [
        ("show x --name default", "adsum ls --name default lists"),
        ("unregister x --namespace other", "adsum ls --namespace other lists"),
        ("card x --name default --node n", "adsum ls --name default --node n lists"),
        ("wait x --timeout 0.1 --name default", "adsum ls --name default"),
        ("hosts --name default", "adsum bridge --name default --cluster ADDRESS"),
        ("bridge --status --name default", "adsum bridge --name default starts one"),
        ("run a --owned-by x --name default -- true", "adsum ls --name default lists"),
    ],
)
def test_advised_commands_are_about_the_same_registry(
    command: Command, members: Registry, typed: str, advised: str
) -> None:
    """A command that a message advises has the options with which the user named the registry."""
    members.register("planner-1")
    assert advised in command(*typed.split()).err


def test_every_command_about_a_registry_can_be_advised() -> None:
    """The commands that carry the options of a registry are those that take them."""
    app = build([])
    options = {
        name: {word for argument in app[name].assemble_argument_collection() for word in argument.names}
        for name in app
        if not name.startswith("-")
    }
    assert {name for name, words in options.items() if "--namespace" in words} == set(ADVISED)


@pytest.mark.parametrize(
    "typed", ["show wroker-1", "unregister wroker-1", "health wroker-1 healthy", "wait wroker-1 --timeout 0.1"]
)
def test_a_misspelt_id_gets_a_suggestion(command: Command, members: Registry, typed: str) -> None:
    """Where an id is not registered, the message names a similar one that is."""
    members.register_many([("worker-1", {}), ("planner", {})])
    code, out, err = command(*typed.split())
    assert (code, out) == (1, "")
    assert err.endswith("; did you mean worker-1?\n")


def test_an_id_unlike_all_others_gets_no_suggestion(command: Command, members: Registry) -> None:
    """No id is suggested that is not similar."""
    members.register("worker-1")
    assert "did you mean" not in command("show", "planner").err


def test_the_other_location_is_named(command: Command, registry_folder: Path) -> None:
    """Where two registries of one name live in two default locations, `ls`, `show` and `doctor` name the other one."""
    first, second = registry_folder.with_name("first"), registry_folder.with_name("second")
    for location in (second, first):
        with adsum.open(path=location / "default", timeout=10) as there:
            there.register("planner")
    del command.environment["ADSUM_DIR"]
    answers = {typed: _at(command, first, second, *typed.split()) for typed in ("ls", "show absent", "doctor")}
    assert answers["ls"].err == (
        f"adsum: another registry of this name lives in {second}/default; ADSUM_DIR={second} chooses it\n"
    )
    assert answers["ls"].code == 0
    assert f"another registry of this name lives in {second}/default" in answers["show absent"].err
    assert f"another one lives in {second}/default" in answers["doctor"].out


def _at(command: Command, first: Path, second: Path, *typed: str) -> Answer:
    """Run the command with these default locations."""
    program = [sys.executable, "-c", PLACES_CODE, str(first), str(second), *typed]
    done = subprocess.run(program, env=command.environment, capture_output=True, text=True, timeout=60)
    return Answer(done.returncode, done.stdout, done.stderr)
