"""Shell completion: the scripts for three shells, and what they offer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adsum import Registry

from .command import Command

# What bash does at Tab: it calls the function that the script registered.
_AT_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p adsum | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function adsum "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _script(command: Command, shell: str, folder: Path) -> Path:
    script = folder / f"completion.{shell}"
    command.environment["HOME"] = str(folder)
    assert command("--install-completion", "--shell", shell, "--output", script).code == 0
    return script


def _environment(command: Command, folder: Path) -> dict[str, str]:
    """The environment in which the script finds `adsum` on the path."""
    called = folder / "adsum"
    called.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m adsum.cli "$@"\n')
    called.chmod(0o755)
    return {**command.environment, "PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_accepts_its_script(command: Command, tmp_path: Path, shell: str) -> None:
    """The completion script names every command, and its shell can parse it."""
    script = _script(command, shell, tmp_path)
    text = script.read_text()
    assert [name for name in ("ls", "run", "doctor", "registrar", "demo") if name not in text] == []
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to read the script")
    subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("adsum", "sho"), {"show"}),
        (("adsum", "show", ""), {"planner", "worker-1"}),
        (("adsum", "show", "pl"), {"planner"}),
        (("adsum", "ls", "--capability", ""), {"planning", "thinking"}),
        (("adsum", "health", "planner", ""), {"healthy", "degraded", "unhealthy"}),
        (("adsum", "ls", "--type", "co"), {"coordinator"}),
        (("adsum", "watch", "pl"), {"planner"}),
        (("adsum", "wait", "--capability", "pl"), {"planning"}),
    ],
)
def test_bash_offers_commands_and_members(
    command: Command, members: Registry, tmp_path: Path, typed: tuple[str, ...], offered: set[str]
) -> None:
    """At Tab the shell offers commands, words, and the ids and capabilities of living members."""
    members.register("planner", capabilities={"planning"})
    members.register("worker-1", capabilities={"thinking"})
    script = _script(command, "bash", tmp_path)
    run = ["bash", "-c", _AT_TAB, "bash", str(script), *typed]
    done = subprocess.run(run, env=_environment(command, tmp_path), capture_output=True, text=True, timeout=60)
    assert {line.strip() for line in done.stdout.splitlines()} == offered, done.stderr
