"""What holds for every command: help, mistakes, what is imported, and how it ends when nobody listens."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import adsum
from adsum import HealthStatus, ProcessType, Registry
from adsum.cli.app import build
from adsum.cli.options import HealthWord, TypeWord
from tests.support import Child, eventually, stopped

from .command import ADSUM, Command

COMMANDS = (
    "ls",
    "show",
    "watch",
    "wait",
    "top",
    "run",
    "health",
    "unregister",
    "stats",
    "metrics",
    "audit",
    "doctor",
    "registrar",
    "demo",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_by_a_sentence_and_an_example(name: str) -> None:
    """The help of a command begins with one sentence, and further down shows the command as it is typed."""
    function = build([name])[name].default_command
    assert function is not None
    sentence, _, more = (inspect.getdoc(function) or "").partition("\n\n")
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert f"$ adsum {name}" in more


def test_help_and_version(command: Command) -> None:
    """--help lists every command, -h of a command its options; --version is the version of the package."""
    answer = command("--help")
    assert answer.code == 0
    assert [name for name in COMMANDS if f"│ {name} " not in answer.out] == []
    assert command().out == answer.out
    assert "--capability" in command("run", "-h").out
    assert command("--version").out == f"adsum {adsum.__version__}\n"


def test_words_on_the_command_line_are_the_models() -> None:
    """The types and health statuses that can be typed are all there are."""
    assert set(typing.get_args(TypeWord)) == set(ProcessType)
    assert set(typing.get_args(HealthWord)) == set(HealthStatus)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("lss",), 'Did you mean "ls"?'),
        (("ls", "--frob"), "--frob"),
        (("ls", "extra"), "extra"),
        (("ls", "--type", "wizard"), '"coordinator"'),
        (("ls", "--limit", "-1"), "from 0 up"),
        (("ls", "--limit", "many"), "--limit"),
        (("ls", "--name", "a", "--path", "/b"), "not both"),
        (("ls", "--name", "../b"), "cannot name a registry"),
        (("ls", "--namespace", ""), "empty"),
        (("show",), "ID"),
        (("show", "a//b"), "empty"),
        (("health", "me", "sick"), '"degraded"'),
        (("health", "me"), "STATUS"),
        (("unregister", "me", "--timeout", "-1"), "above 0"),
        (("watch", "me", "--type", "agent"), "not both"),
        (("watch", "--since", "-1"), "from 0 up"),
        (("ls", "--capability", ""), "non-empty"),
    ],
)
def test_a_mistake_is_told_in_words(command: Command, typed: tuple[str, ...], says: str) -> None:
    """What cannot be meant has exit code 2 and a message on standard error, and makes no registry."""
    code, out, err = command(*typed)
    assert (code, out) == (2, "")
    assert err.startswith("adsum: ")
    assert says in err
    assert not command.folder.exists()


def test_options_say_which_registry(command: Command, members: Registry) -> None:
    """--name and --path say which registry is meant; without them it is the default one."""
    members.register("planner")
    assert command("show", "planner", "-r", "default").code == 0
    assert command("show", "planner", "--path", command.folder).code == 0
    assert command("show", "planner", "--name", "other").code == 1


def test_a_reader_who_leaves_is_no_error(command: Command, members: Registry) -> None:
    """`adsum ls | head -1` ends silently, as one that SIGPIPE ended."""
    members.register_many([(f"member-{number}", {"custom": {"text": "x" * 1000}}) for number in range(200)])
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [*ADSUM, "ls", "--json"], stdout=gone, stderr=subprocess.PIPE, env=command.environment, timeout=60
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("typed", ["--help", "ls --help", "--version"])
def test_a_reader_who_leaves_before_the_help_is_no_error(command: Command, typed: str) -> None:
    """`adsum --help | true` ends silently, as one that SIGPIPE ended."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        program = [*ADSUM, *typed.split()]
        done = subprocess.run(program, stdout=gone, stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_full_disk_is_told(command: Command, members: Registry) -> None:
    """Output that cannot be written is an error, never half an answer with exit code 0."""
    members.register("planner")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*ADSUM, "ls"], stdout=full, stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (3, b"adsum: No space left on device\n")


def test_without_standard_output(command: Command, members: Registry) -> None:
    """A command whose standard output is closed does its work all the same."""
    members.register("planner")
    shell = f"{' '.join(ADSUM)} health planner degraded >&-"
    done = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert members["planner"].metadata.health_status == "degraded"


def test_ctrl_c_is_silent(command: Command, members: Registry) -> None:
    """A command that is interrupted while it waits ends with 130 and says nothing."""
    members.register("planner")
    with stopped(command.folder), command.start("health", "planner", "degraded") as waiting:
        # It waits for the registrar once it has connected.
        _until_connected(waiting)
        waiting.signal(signal.SIGINT)
        out, err = waiting.process.communicate(timeout=10)
    assert (waiting.process.returncode, out, err) == (130, b"", b"")


def _until_connected(child: Child) -> None:
    def connected() -> bool:
        try:
            return any(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{child.pid}/fd").iterdir())
        except FileNotFoundError:
            # One that was closed while the list was read.
            return False

    eventually(connected)


def test_without_the_extra(command: Command) -> None:
    """Where cyclopts is not installed the command says what to install, with exit code 3."""
    code = "import sys; sys.modules['cyclopts'] = None; from adsum.cli import main; sys.exit(main(['ls']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == "adsum: the command line needs cyclopts; run: pip install 'adsum[cli]'\n"


@pytest.mark.parametrize(
    "typed", ["ls", "stats", "audit", "ls --json", "show nobody", "top", "wait nobody --timeout 0.1", "ls --frob"]
)
def test_what_is_not_needed_is_not_imported(command: Command, typed: str) -> None:
    """What is slow to import (rich, asyncio, the registrar, the demo) waits until it is needed."""
    code = "import sys; from adsum.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    run = [sys.executable, "-c", code, *typed.split()]
    done = subprocess.run(run, env=command.environment, capture_output=True, text=True, timeout=60)
    slow = {"asyncio", "adsum.aio", "adsum._registrar.start", "adsum_demo", "adsum.cli.demo"}
    assert not slow & set(done.stderr.split())
    # The parser words its own complaints with it.
    assert "rich" not in done.stderr.split() or "--frob" in typed
