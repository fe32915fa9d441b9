"""`adsum run`: a program is registered exactly as long as it runs, and runs as if it was started directly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import eventually, stopped

from .command import ADSUM, Command, pid_of

_LOOK_UP_OWN_ENTRY = """
import adsum, os
entry = adsum.open().lookup("me")
print(entry.pid == os.getpid(), sorted(entry.metadata.capabilities), entry.metadata.type,
      entry.metadata.health_status, entry.metadata.endpoint, dict(entry.metadata.resources), entry.gauges)
"""


def test_a_program_is_registered_before_its_first_instruction(command: Command) -> None:
    """The program finds itself registered, with its own pid and the metadata of the options."""
    options = ["-c", "planning", "--capability", "thinking", "--type", "service", "--health", "degraded"]
    options += ["--gauge", "load=0.5"]
    options += ["--endpoint", "http://x", "--resource", "gpu=2", "--resource", "mem=1.5", "--resource", "os=linux"]
    answer = command("run", "me", *options, "--", sys.executable, "-c", _LOOK_UP_OWN_ENTRY)
    resources = {"gpu": 2, "mem": 1.5, "os": "linux"}
    assert answer.out == f"True ['planning', 'thinking'] service degraded http://x {resources} {{'load': 0.5}}\n"
    assert answer.code == 0


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", "-9223372036854775809"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_number_that_cannot_be_stored_is_text(command: Command, typed: str, stored: int | str) -> None:
    """A resource that reads as a number but does not fit 64 bits is stored as text."""
    show = (*ADSUM, "show", "me", "--json")
    answer = command("run", "me", "--resource", f"size={typed}", "--", *show)
    assert json.loads(answer.out)["metadata"]["resources"] == {"size": stored}


def test_an_entry_ends_with_its_program(command: Command, members: Registry) -> None:
    """The entry exists while the program runs, and is gone when it has ended."""
    with command.start_listener("me") as run:
        pid = pid_of(run.line())
        assert members["me"].pid == pid
        assert run.finish() == 0
        assert members.lookup("me") is None


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_programs(command: Command, script: str, code: int) -> None:
    """`run` ends with the exit code of the program, 128 + n where signal n ended it."""
    assert command("run", "me", "--", "sh", "-c", script).code == code


def test_arguments_reach_the_program_untouched(command: Command) -> None:
    """Everything after the first -- reaches the program: options, empty words, another --."""
    words = ["--help", "-c", "", "--", '["a"]', "-5", "@x", "*"]
    script = "import sys; print(sys.argv[1:])"
    assert command("run", "me", "--", sys.executable, "-c", script, *words).out == f"{words}\n"


def test_input_and_output_are_the_programs(command: Command) -> None:
    """The program has the standard streams of `run`."""
    assert command("run", "me", "--", "sh", "-c", "cat; echo oops >&2", text="hello") == (0, "hello", "oops\n")


def _signal_sets(status: str) -> dict[str, int]:
    """Which of the 31 standard signals are blocked, ignored and caught. glibc uses the two above them itself."""
    return {line.split()[0]: int(line.split()[1], 16) & 0x7FFF_FFFF for line in status.splitlines()}


def test_a_program_inherits_the_signals_it_would_have_directly(command: Command) -> None:
    """The program has the same blocked and ignored signals as one that was started directly."""
    program = ("grep", "^Sig[BIC]", "/proc/self/status")
    directly = subprocess.run(program, input="", capture_output=True, text=True, check=True)
    assert _signal_sets(command("run", "me", "--", *program).out) == _signal_sets(directly.stdout)


def test_a_program_inherits_the_descriptors_it_would_have_directly(command: Command) -> None:
    """The program inherits no descriptor of adsum."""
    program = ("ls", "/proc/self/fd")
    directly = subprocess.run(program, input="", capture_output=True, text=True, check=True)
    assert command("run", "me", "--", *program).out == directly.stdout


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [("no-such-program", 127, "command not found"), ("/dev/null", 126, "Permission denied")],
)
def test_a_program_that_cannot_be_started(command: Command, program: str, code: int, says: str) -> None:
    """A missing program has exit code 127 and one that cannot be executed 126, as in a shell."""
    answer = command("run", "me", "--", program)
    assert answer.code == code
    assert answer.err.startswith("adsum: ")
    assert says in answer.err


@pytest.mark.parametrize(
    ("beginning", "says"),
    [
        ("#!/no/such/shell -e\n", "its interpreter '/no/such/shell' is missing"),
        ("#! /bin/sh\r\n", r"its interpreter '/bin/sh\r' is missing"),
        ("#!{folder}/interpreter\n", "it exists, but its loader or interpreter does not"),
    ],
)
def test_a_script_without_its_interpreter(command: Command, tmp_path: Path, beginning: str, says: str) -> None:
    """A script whose interpreter is missing has exit code 127 and a message about the interpreter."""
    for name, text in (("no-interpreter", beginning.format(folder=tmp_path)), ("interpreter", "#!/no/such/shell\n")):
        (tmp_path / name).write_text(text, newline="")
        (tmp_path / name).chmod(0o755)
    command.environment["PATH"] += f":{tmp_path}"
    for program in ("no-interpreter", str(tmp_path / "no-interpreter")):
        code, out, err = command("run", "me", "--", program)
        assert (code, out) == (127, "")
        assert err.startswith(f"adsum: {program}: {says}")


def test_a_failed_registration_never_runs_the_program(command: Command, members: Registry, tmp_path: Path) -> None:
    """Where the id is held the program does not run; the message names the holder and advises commands; exit code 3."""
    members.register("me")
    code, _, err = command("run", "me", "--", "touch", str(tmp_path / "ran"))
    assert code == 3
    assert f"held by process {os.getpid()}" in err
    assert "adsum show me" in err
    assert "()" not in err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("me", "-c", ""),
        ("me", "--resource", "gpu"),
        ("me", "--resource", "gpu=1", "--resource", "gpu=2"),
        ("me", "--gauge", "load"),
        ("me", "--gauge", "load=much"),
        ("me", "--gauge", "load=1", "--gauge", "load=2"),
        ("a//b",),
        ("",),
        ("me", "--timeout", "0"),
    ],
)
def test_impossible_metadata_is_a_usage_error(command: Command, options: tuple[str, ...], tmp_path: Path) -> None:
    """An impossible id or option is refused with exit code 2, and the program does not run."""
    assert command("run", *options, "--", "touch", str(tmp_path / "ran")).code == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("typed", [("me", "ls", "-c", "x"), ("me", "--"), ("me", "--", ""), ("me",), ("--", "ls")])
def test_the_two_dashes_are_required(command: Command, typed: tuple[str, ...]) -> None:
    """Without -- an option of the program could be parsed as one of adsum, so the command asks for it; exit code 2."""
    code, out, err = command("run", *typed)
    assert (code, out) == (2, "")
    assert err.startswith("adsum: ")


def _gated_child(run: int) -> int:
    children = Path(f"/proc/{run}/task/{run}/children")
    return int(eventually(lambda: children.read_text().split())[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_run_killed_before_registration_leaves_nothing(
    command: Command, members: Registry, tmp_path: Path, number: signal.Signals
) -> None:
    """Where `run` ends during the registration, in whatever way, the program never runs and no process remains."""
    members.register("first")
    with stopped(command.folder), command.start("run", "me", "--", "touch", str(tmp_path / "ran")) as run:
        child = _gated_child(run.pid)
        run.signal(number)
        assert run.wait() != 0
        eventually(lambda: not Path(f"/proc/{child}").exists())
    assert not (tmp_path / "ran").exists()
    assert members.lookup("me") is None
