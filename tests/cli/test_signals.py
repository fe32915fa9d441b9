"""`adsum run` passes signals on, so that a program behaves as if it was started directly."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from adsum import Registry
from adsum.cli.run import supervise
from adsum.cli.run.gate import GatedChild
from adsum.cli.run.tethers import Tethers
from tests.support import Child, eventually
from tests.support.processes import state_of

from .command import ADSUM, LISTENER, Command, pid_of
from .terminal import Terminal

# All signals with a name, except the two that no process can catch, and those that stop, which have tests of their own.
PASSED_ON = sorted(
    number.name
    for number in set(signal.Signals)
    - {signal.SIGKILL, signal.SIGSTOP}
    - {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
)


def test_signals_are_passed_on(command: Command) -> None:
    """Each signal that is sent to `run` reaches the program once."""
    with command.start_listener("me", *PASSED_ON) as run:
        pid_of(run.line())
        for name in PASSED_ON:
            run.signal(signal.Signals[name])
            run.expect(name)
        assert run.finish() == 0


def test_a_signal_that_ends_the_program_ends_run(command: Command) -> None:
    """SIGTERM to `run` ends a program that does not handle it, and the exit code shows the signal."""
    with command.start_listener("me") as run:
        pid_of(run.line())
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_signal_of_a_fault_that_was_sent_ends_the_program(
    command: Command, members: Registry, number: signal.Signals
) -> None:
    """A signal such as SIGABRT from a watchdog ends the program and `run`, and the entry is removed."""
    with command.start_listener("me") as run:
        pid_of(run.line())
        run.signal(number)
        assert run.wait() == 128 + number
        assert members.lookup("me") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
def test_a_program_of_another_user_is_waited_for(command: Command) -> None:
    """Where `run` may not send signals to its program, as with sudo, it reports that and waits for the program's
    end."""
    program = [sys.executable, "-c", "import os; os.setuid(65534); print('ready'); input(); print('ends')"]
    without_kill = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill"]
    with Terminal([*without_kill, *ADSUM, "run", "me", "--", *program], command.environment) as terminal:
        terminal.expect("ready")
        terminal.process.terminate()
        terminal.expect("cannot send it: Terminated")
        terminal.type("\n")
        terminal.expect("ends")
        assert terminal.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_stopping_run_stops_the_program(command: Command, number: signal.Signals) -> None:
    """SIGTSTP to `run`, or a similar signal, stops the program and then `run`; SIGCONT continues both."""
    with command.start_listener("me", "SIGUSR1", process_group=0) as run:
        pid = pid_of(run.line())
        run.signal(number)
        eventually(lambda: state_of(pid) == state_of(run.pid) == "T")
        run.signal(signal.SIGCONT)
        run.signal(signal.SIGUSR1)
        run.expect("SIGUSR1")
        assert run.finish() == 0


def test_a_stopped_program_does_not_stop_run_outside_of_a_terminal(command: Command) -> None:
    """Without a terminal, `run` does not stop with its program: the sender of SIGSTOP has to continue only the
    program."""
    with command.start_listener("me", "SIGUSR1", start_new_session=True) as run:
        pid = pid_of(run.line())
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid) == "T")
        run.signal(signal.SIGUSR1)
        os.kill(pid, signal.SIGCONT)
        run.expect("SIGUSR1")
        assert state_of(run.pid) != "T"


@pytest.mark.parametrize(("key", "name"), [("\x03", "SIGINT"), ("\x1c", "SIGQUIT")])
def test_a_key_is_one_signal(command: Command, key: str, name: str) -> None:
    """Ctrl-C and Ctrl-\\ in a terminal reach the program once: from the terminal, and not from `run` again."""
    program = [*ADSUM, "run", "me", "--", sys.executable, "-c", LISTENER, name, "SIGUSR1"]
    with Terminal(program, command.environment) as terminal:
        terminal.expect("ready")
        terminal.type(key)
        terminal.expect(name)
        # Signals are passed on in order, so a second copy would come before this one.
        terminal.process.send_signal(signal.SIGUSR1)
        terminal.expect("SIGUSR1")
        assert terminal.shown.count(name) == 1
        terminal.type("\n\x04")
        terminal.process.wait(10)


def test_a_closed_terminal_hangs_up_the_program(command: Command, tmp_path: Path) -> None:
    """Where `run` leads its session, only it gets SIGHUP at the end of the terminal, and passes it on."""
    noted = tmp_path / "noted"
    script = (
        f"trap 'echo hup > {noted}; exit 0' HUP; echo ready; while :; do sleep 0.05 </dev/null >/dev/null 2>&1; done"
    )
    with Terminal([*ADSUM, "run", "me", "--", "sh", "-c", script], command.environment) as terminal:
        terminal.expect("ready")
        terminal.hang_up()
        eventually(lambda: noted.exists() and noted.read_text() == "hup\n")
        assert terminal.process.wait(10) == 0


def test_a_shell_can_stop_and_continue_it(command: Command, tmp_path: Path) -> None:
    """Ctrl-Z gives the terminal back to the shell; `fg` continues the program."""
    script = tmp_path / "listener.py"
    script.write_text(LISTENER)
    environment = {**command.environment, "PS1": "$ ", "HISTFILE": "/dev/null", "TERM": "dumb"}
    with Terminal(["bash", "--norc", "--noediting", "-i"], environment, echo=False) as terminal:
        terminal.type(f"{' '.join(ADSUM)} run me -- {sys.executable} {script} SIGUSR1\n")
        terminal.expect("ready")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("fg; echo code $?\n")
        # Once in the notice that it stopped, and once from fg.
        terminal.expect("run me", times=2)
        terminal.type("\n\x04")
        terminal.expect("code 0")
        terminal.type("exit\n")
        terminal.process.wait(10)


def supervise_beside_a_thread(pause: str) -> None:
    """In a child: supervise a program, while a thread of a registry that was closed ends only after `pause` seconds."""
    threading.Thread(target=time.sleep, args=(float(pause),)).start()
    child = GatedChild(["true"], set(supervise.WATCHED), dies_with_parent=True)
    supervise.block()
    child.release()
    # Its end comes before this thread waits for it.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    print("ended with", supervise.attend(child.pid, Tethers()), flush=True)


def test_no_thread_takes_the_end_of_the_program() -> None:
    """A thread that is still ending blocks no signal: it must not get the SIGCHLD that `attend` waits for."""
    with Child(supervise_beside_a_thread, "0.3") as child:
        child.expect("ended with 0")
