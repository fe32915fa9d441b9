"""What all commands have in common: help, usage errors, imports, and the end without a reader."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import typing

import pytest

import adsum
from adsum import HealthStatus, ProcessType, Registry
from adsum.cli.app import build
from adsum.cli.options import HealthWord, TypeWord
from tests.support import Child, eventually, stopped
from tests.support.processes import open_files

from .command import ADSUM, Command

COMMANDS = (
    "ls",
    "show",
    "namespaces",
    "departures",
    "register",
    "adopt",
    "watch",
    "wait",
    "top",
    "run",
    "health",
    "update",
    "unregister",
    "stats",
    "metrics",
    "audit",
    "doctor",
    "registrar",
    "hosts",
    "bridge",
    "demo",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_sentence_and_an_example(name: str) -> None:
    """The help of a command begins with one sentence, and shows an example."""
    function = build([name])[name].default_command
    assert function is not None
    sentence, _, more = (inspect.getdoc(function) or "").partition("\n\n")
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert f"$ adsum {name}" in more


def test_help_and_version(command: Command) -> None:
    """--help lists every command, -h of a command its options; --version prints the version of the package."""
    answer = command("--help")
    assert answer.code == 0
    assert [name for name in COMMANDS if f"│ {name} " not in answer.out] == []
    assert command().out == answer.out
    assert "--capability" in command("run", "-h").out
    assert command("--version").out == command("-V").out == f"adsum {adsum.__version__}\n"


def test_help_is_a_word_too(command: Command) -> None:
    """`adsum help` prints what --help does, and `adsum help ls` the help of `ls`."""
    assert command("help") == command("--help")
    assert command("help", "ls") == command("ls", "--help")
    assert command("help", "lss").code == 2


def test_python_m_adsum_is_the_command() -> None:
    """``python -m adsum`` is the command."""
    done = subprocess.run([sys.executable, "-m", "adsum", "-V"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"adsum {adsum.__version__}\n")


def test_choices_are_those_of_the_model() -> None:
    """The types and health statuses of the options are all that the model has."""
    assert set(typing.get_args(TypeWord)) == set(ProcessType)
    assert set(typing.get_args(HealthWord)) == set(HealthStatus)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("lss",), 'Did you mean "ls"?'),
        (("register", "me"), "PID"),
        (("register", "me", "x"), "whole number"),
        (("register", "me", "0"), "1 or more"),
        (("register", "me", "1", "--custom", "[1]"), "give a JSON object"),
        (("register", "me", "1", "--custom", "{"), "is no JSON"),
        (("run", "me", "--custom", "x", "--", "true"), "is no JSON"),
        (("run", "me", "--heartbeat", "0", "--", "true"), "metadata.heartbeat"),
        (("departures", "--limit", "-1"), "0 or more"),
        (("list",), "adsum ls"),
        (("ls", "--frob"), "--frob"),
        (("ls", "extra"), "extra"),
        (("ls", "--type", "wizard"), '"coordinator"'),
        (("ls", "--limit", "-1"), "0 or more"),
        (("ls", "--limit", "many"), "--limit"),
        (("ls", "--name", "a", "--path", "/b"), "not both"),
        (("ls", "--name", "../b"), "cannot name a registry"),
        (("ls", "--namespace", ""), "empty"),
        (("show",), "ID"),
        (("show", "a//b"), "empty"),
        (("health", "me", "sick"), '"degraded"'),
        (("health", "me"), "STATUS"),
        (("unregister", "me", "--timeout", "-1"), "above 0"),
        (("watch", "--namespace", "a", "--all-namespaces"), "not both"),
        (("ls", "--where", "tokens"), "give NAME, one of = != >= <= > < and a value"),
        (("ls", "--where", "tokens>=many"), "'many' is no number; >= compares numbers"),
        (("ls", "--where", ".x=1"), "a name is empty"),
        (("ls", "--where", "x='1"), "close the quotes"),
        (("ls", "--where", ""), "give conditions"),
        (("ls", "--pid", "0"), "pid=0"),
        (("ls", "--capability", "a", "--not-capability", "a"), "no entry could match"),
        (("watch", "--since", "-1"), "0 or more"),
        (("ls", "--capability", ""), "non-empty"),
    ],
)
def test_a_usage_error_has_a_message(command: Command, typed: tuple[str, ...], says: str) -> None:
    """A usage error has exit code 2 and a message on standard error, and creates no registry."""
    code, out, err = command(*typed)
    assert (code, out) == (2, "")
    assert err.startswith("adsum: ")
    assert says in err
    assert not command.folder.exists()


def test_options_choose_the_registry(command: Command, members: Registry) -> None:
    """--name and --path choose the registry; without them it is the default one."""
    members.register("planner")
    assert command("show", "planner", "-r", "default").code == 0
    assert command("show", "planner", "--path", command.folder).code == 0
    assert command("show", "planner", "--name", "other").code == 1


def test_a_closed_pipe_is_no_error(command: Command, members: Registry) -> None:
    """`adsum ls | head -1` ends without a message, and with the exit code of SIGPIPE."""
    members.register_many([(f"member-{number}", {"custom": {"text": "x" * 1000}}) for number in range(200)])
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [*ADSUM, "ls", "--json"], stdout=gone, stderr=subprocess.PIPE, env=command.environment, timeout=60
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("typed", ["--help", "ls --help", "--version"])
def test_a_pipe_closed_before_the_help_is_no_error(command: Command, typed: str) -> None:
    """`adsum --help | true` ends without a message, and with the exit code of SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        program = [*ADSUM, *typed.split()]
        done = subprocess.run(program, stdout=gone, stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_full_disk_is_an_error(command: Command, members: Registry) -> None:
    """Output that cannot be written is an error: no incomplete answer has exit code 0."""
    members.register("planner")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*ADSUM, "ls"], stdout=full, stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (3, b"adsum: No space left on device\n")


def test_without_standard_output(command: Command, members: Registry) -> None:
    """A command works with its standard output closed."""
    members.register("planner")
    shell = f"{' '.join(ADSUM)} health planner degraded >&-"
    done = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, env=command.environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert members["planner"].metadata.health_status == "degraded"


def test_ctrl_c_is_silent(command: Command, members: Registry) -> None:
    """A command that is interrupted while it waits ends with 130 and no message."""
    members.register("planner")
    with stopped(command.folder), command.start("health", "planner", "degraded") as waiting:
        # Once it is connected, it waits for the registrar.
        _until_connected(waiting)
        waiting.signal(signal.SIGINT)
        out, err = waiting.process.communicate(timeout=10)
    assert (waiting.process.returncode, out, err) == (130, b"", b"")


def _until_connected(child: Child) -> None:
    eventually(lambda: any(file.startswith("socket:") for file in open_files(child.pid).values()))


def test_without_the_extra(command: Command) -> None:
    """Where cyclopts is not installed, the command names the package to install, with exit code 3."""
    code = "import sys; sys.modules['cyclopts'] = None; from adsum.cli import main; sys.exit(main(['ls']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == "adsum: the command line needs cyclopts; run: pip install 'adsum[cli]'\n"


@pytest.mark.parametrize(
    "typed", ["ls", "stats", "audit", "ls --json", "show absent", "top", "wait absent --timeout 0.1", "ls --frob"]
)
def test_slow_modules_are_imported_when_needed(command: Command, typed: str) -> None:
    """rich, asyncio, the registrar and the demo are imported only by the commands that need them."""
    code = "import sys; from adsum.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    run = [sys.executable, "-c", code, *typed.split()]
    done = subprocess.run(run, env=command.environment, capture_output=True, text=True, timeout=60)
    slow = {"asyncio", "adsum.aio", "adsum._registrar.start", "adsum_demo", "adsum.cli.demo"}
    assert not slow & set(done.stderr.split())
    # cyclopts uses rich for its own messages.
    assert "rich" not in done.stderr.split() or "--frob" in typed


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("version", "adsum --version prints the version"),
        ("stop", "adsum registrar --stop stops the registrar"),
        ("kill", "adsum show ID shows the pid of a member"),
        ("PS", "adsum ls lists the members"),
        ("shwo", 'Did you mean "show"?'),
        ("--verison", "did you mean --version?"),
        ("--hlep", "did you mean --help?"),
        ("--name team ls", "options follow their command, as in: adsum ls --name team"),
    ],
)
def test_a_word_that_is_no_command(command: Command, typed: str, said: str) -> None:
    """A word that is no command gets the command that its user perhaps meant, and no other."""
    code, out, err = command(*typed.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "health" not in err.splitlines()[0].partition("Available")[0]


def test_help_about_help(command: Command) -> None:
    """`adsum help help` is the help, as `adsum help` is."""
    assert command("help", "help") == command("help") == command("--help")
