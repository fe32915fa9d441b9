"""`adsum claim`: a program runs while it holds a slot of a member."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from adsum import Registry
from tests.support import eventually

from .command import LISTENER, Command, pid_of

_SHOW_OWN_CLAIM = """
import adsum, os, sys
(claim,) = adsum.open()[sys.argv[1]].claims
print(claim.pid == os.getpid(), os.getppid() == int(os.environ["PARENT"]) if "PARENT" in os.environ else "")
"""


def claimers(members: Registry, id: str = "w") -> list[int]:
    return [record.pid for record in members[id].claims]


def test_the_program_holds_the_slot(command: Command, members: Registry) -> None:
    """The slot is the program's own from its first instruction on, and free when it has ended."""
    members.register("w", capabilities={"x"})
    for how in (["w"], ["-c", "x"], ["--id-prefix", "w", "--type", "agent", "--any-capability", "x"]):
        answer = command("claim", *how, "--timeout", "0", "--", sys.executable, "-c", _SHOW_OWN_CLAIM, "w")
        assert (answer.code, answer.out.split()[0]) == (0, "True"), answer.err
    eventually(lambda: claimers(members) == [])


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_programs(command: Command, members: Registry, script: str, code: int) -> None:
    """`claim` ends with the exit code of the program."""
    members.register("w")
    assert command("claim", "w", "--", "sh", "-c", script).code == code


def test_arguments_and_input_reach_the_program(command: Command, members: Registry) -> None:
    """Everything after the first -- reaches the program, and it has the standard streams of `claim`."""
    members.register("w")
    words = ["--help", "-c", "", "--", "a b", "@x", "*", "é"]
    script = "import sys; print(sys.argv[1:], input())"
    answer = command("claim", "w", "--", sys.executable, "-c", script, *words, text="hello\n")
    assert (answer.code, answer.out) == (0, f"{words} hello\n")


def test_signals_reach_the_program(command: Command, members: Registry) -> None:
    """A signal that `claim` gets is passed on to the program."""
    members.register("w")
    with command.start("claim", "w", "--", sys.executable, "-c", LISTENER, "SIGTERM", "SIGUSR1") as claim:
        program = pid_of(claim.line())
        assert claimers(members) == [program]
        for number in (signal.SIGTERM, signal.SIGUSR1):
            claim.signal(number)
            claim.expect(number.name)
        assert claim.finish() == 0
    eventually(lambda: claimers(members) == [])


def test_one_at_a_time(command: Command, members: Registry) -> None:
    """A second program waits until the first has ended; one that does not wait so long never runs."""
    members.register("w")
    with command.start("claim", "w", "--", sys.executable, "-c", LISTENER) as first:
        first.line()
        for timeout in ("0", "0.1"):
            answer = command("claim", "w", "--timeout", timeout, "--", "echo", "ran")
            assert (answer.code, answer.out) == (1, "")
            assert "no slot of" in answer.err
            assert "--timeout" in answer.err
        with command.start("claim", "-c", "x", "w", "--", sys.executable, "-c", LISTENER) as never:
            # It asks for a capability that the member does not have.
            members.update("w", slots=2)
            with command.start("claim", "w", "--", sys.executable, "-c", LISTENER) as second:
                second.line()
                assert len(claimers(members)) == 2
            assert never.process.poll() is None


def test_a_killed_claim_frees_the_slot(command: Command, members: Registry) -> None:
    """If `adsum claim` is killed the program is killed, too, and its slot is free; with --outlive it keeps both."""
    members.register("w", slots=2)
    with command.start("claim", "w", "--", sys.executable, "-c", LISTENER) as claim:
        claim.line()
        claim.kill()
        eventually(lambda: claimers(members) == [])
    with command.start("claim", "w", "--outlive", "--", sys.executable, "-c", LISTENER) as claim:
        program = pid_of(claim.line())
        claim.kill()
        assert claimers(members) == [program]
    eventually(lambda: claimers(members) == [])


def test_ctrl_c_while_it_waits(command: Command, members: Registry) -> None:
    """A claim that is interrupted while it waits leaves the queue; its program never runs."""
    members.register("w")
    held = members.claim("w")
    with command.start("claim", "w", "--", "echo", "ran") as waiting:
        # The gate's child exists once it has begun.
        eventually(lambda: Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children").read_text())
        eventually(lambda: _threads(waiting.pid) > 1)
        waiting.signal(signal.SIGINT)
        assert waiting.wait() == 130
    held.release()
    members.claim("w", timeout=0).release()


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["claim", "w"], "type -- before the program"),
        (["claim", "w", "--"], "no program to run"),
        (["claim", "w", "--", ""], "no program to run"),
        (["claim", "--", "echo"], "give an ID or conditions"),
        (["claim", "w", "v", "--", "echo"], "give one ID"),
        (["claim", "w", "--timeout", "-1", "--", "echo"], "--timeout"),
    ],
)
def test_wrong_command_lines(command: Command, words: list[str], said: str) -> None:
    """A command line without a program, or with too much, says what to type."""
    answer = command(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_an_id_that_is_not_registered(command: Command, members: Registry) -> None:
    """A claim on an id that no member holds ends with 1, and the program never runs."""
    members.register("worker")
    answer = command("claim", "workr", "--", "echo", "ran")
    assert (answer.code, answer.out) == (1, "")
    assert "workr is not registered" in answer.err
    assert "worker" in answer.err


def test_show_names_the_claimers(command: Command, members: Registry) -> None:
    """`show` prints how many slots are claimed and by which processes; with --json the claims whole."""
    members.register("w", slots=3)
    assert "0 of 3 claimed" in command("show", "w").out
    claim = members.claim("w")
    assert f"1 of 3 claimed, by {os.getpid()} for" in command("show", "w").out
    document = command.document("show", "w")
    assert document == members["w"].to_dict()
    assert [one["number"] for one in document["claims"]] == [claim.number]
    members.register("plain")
    assert "claimed" not in command("show", "plain").out


def test_slots_on_the_command_line(command: Command, members: Registry) -> None:
    """`run` and `register` take the number of slots, `update` changes it."""
    command("register", "w", str(os.getpid()), "--slots", "2")
    assert members["w"].metadata.slots == 2
    for word, slots in (("4", 4), ("null", None)):
        assert command("update", "w", "--set", f"slots={word}").code == 0
        assert members["w"].to_dict()["metadata"]["slots"] == slots
    assert command("register", "v", str(os.getpid()), "--slots", "0").code == 2
