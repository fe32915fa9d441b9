"""`adsum run` is killed: by a supervisor whose patience ended, or by the kernel because memory is short."""

from __future__ import annotations

import functools
import os
import signal
import time

import pytest

from adsum import Registry
from tests.support import eventually
from tests.support.processes import is_alive

from .command import Command, pid_of


def is_dead(pid: int) -> bool:
    return not is_alive(pid)


@pytest.mark.parametrize("options", [(), ("--die-with-parent",)])
def test_the_program_ends_with_its_adsum(options: tuple[str, ...], command: Command, members: Registry) -> None:
    """A program does not outlive an `adsum run` that was killed, so the next one gets the id at once."""
    for _ in range(2):
        with command.start_listener("me", options=options) as run:
            pid = pid_of(run.line())
            assert members["me"].pid == pid
            run.kill()
            eventually(functools.partial(is_dead, pid))
    assert "me" not in members


def test_a_program_that_may_outlive_its_adsum(command: Command, members: Registry) -> None:
    """With --outlive the program keeps running when `adsum run` is killed, and stays registered until it ends."""
    with command.start_listener("me", options=("--outlive",)) as run:
        pid = pid_of(run.line())
        os.kill(run.pid, signal.SIGKILL)
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(pid)
        assert members["me"].pid == pid
        refused = command("run", "me", "--", "true")
        assert refused.code == 3
        os.kill(pid, signal.SIGKILL)
        eventually(functools.partial(is_dead, pid))


def test_killed_at_any_moment(command: Command, members: Registry) -> None:
    """Wherever the kill strikes between the start of `adsum run` and the program's own, nothing keeps running."""
    for delay in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        with command.start_listener("me") as run:
            # Each delay strikes another moment; which one depends on the machine, and each must do.
            time.sleep(delay)
            run.kill()
        eventually(lambda: "me" not in members)
