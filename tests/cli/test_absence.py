"""An absent registry is not an empty one, and a misspelt word gets a suggestion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from .command import Answer, Command

PLACES_CODE = """
import sys
from adsum._store import places
places.DEFAULT_PLACES = tuple(sys.argv[1:3])
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


@pytest.mark.parametrize("typed", ["ls", "stats", "audit", "metrics --once", "top"])
def test_an_empty_registry_is_not_absent(command: Command, members: Registry, typed: str) -> None:
    """A registry without entries has exit code 0 and no message."""
    members.register("planner").unregister()
    code, _, err = command(*typed.split())
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "typed",
    ["ls", "stats", "audit", "show planner", "unregister planner", "health planner healthy", "wait x --timeout 0.1"],
)
def test_a_misspelt_name_gets_a_suggestion(command: Command, members: Registry, typed: str) -> None:
    """Where --name names no registry, the message names a similar one."""
    members.register("planner")
    code, _, err = command(*typed.split(), "--name", "defualt")
    assert code == 1
    assert "did you mean --name default?" in err
    assert not command.folder.with_name("defualt").exists()


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


def test_the_other_place_is_named(command: Command, registry_folder: Path) -> None:
    """Where two registries of one name live in two default places, `ls`, `show` and `doctor` name the other one."""
    first, second = registry_folder.with_name("first"), registry_folder.with_name("second")
    for place in (second, first):
        with adsum.open(path=place / "default", timeout=10) as there:
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
    """Run the command with these default places."""
    program = [sys.executable, "-c", PLACES_CODE, str(first), str(second), *typed]
    done = subprocess.run(program, env=command.environment, capture_output=True, text=True, timeout=60)
    return Answer(done.returncode, done.stdout, done.stderr)
