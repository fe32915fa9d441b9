"""The demo from beginning to end: the workspace, the agents' run, the sequential run, and the report."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec

from . import chaos, job, journal, leader, sources, team
from .coordinator import DemoFailed
from .coordinators import Coordinators
from .report import AgentRun, Report, make_report
from .view import Observer, View
from .workspace import Workspace, clean_up, open_workspace

_END_SECONDS = 10.0
_RECEIVE_SECONDS = 0.05
_LOG_TAIL = 2000
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True):
    """The arguments of the command. Without `name` or `path` the registry is the demo's own."""

    folder: Path | None
    workers: int
    kills: int
    seed: int
    name: str | None = None
    path: Path | None = None


class Interrupted(Exception):
    """The signal `number` asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


class _ChaosProcess:
    """The process that starts and kills the agents. As a context manager it ends it, and with it all agents."""

    def __init__(self, orders: chaos.Orders, log: Path) -> None:
        command = [sys.executable, "-P", "-m", "adsum_demo.chaos", msgspec.json.encode(orders).decode()]
        with log.open("ab") as errors:
            # A session of its own, so that Ctrl-C at the terminal does not reach it: the command decides when it ends.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self.report: chaos.ChaosReport | None = None

    @property
    def pipe(self) -> IO[bytes]:
        """Its standard output, which ends when it does."""
        if self._process.stdout is None:
            raise DemoFailed("chaos has no output")
        return self._process.stdout

    def __enter__(self) -> _ChaosProcess:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Closes the lifeline, the standard input that every agent has inherited.
            output, _errors = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _errors = self._process.communicate()
        if self._process.returncode == 0:
            self.report = msgspec.json.decode(output, type=chaos.ChaosReport)


def run(options: Options, observe: Observer) -> Report:
    """Run the demo; `observe` is called with every moment of it. However it ends, no process and no folder remains.

    Errors: `NoSources`, `DemoFailed`, `Interrupted`, and the registry's.
    """
    with deferred_signals() as raise_if_interrupted:

        def observe_unless_interrupted(view: View) -> None:
            raise_if_interrupted()
            observe(view)

        files = sources.select(options.folder)
        with open_workspace(options.name, options.path) as workspace:
            try:
                agent_run = _run_agents(options, files, workspace, observe_unless_interrupted)
            except DemoFailed as error:
                raise DemoFailed(f"{error}\n{tail(workspace.log)}".strip()) from error
        began = time.monotonic()
        expected = list(run_sequentially(files, observe_unless_interrupted))
        return make_report(files, options.workers, options.seed, agent_run, expected, time.monotonic() - began)


def _run_agents(options: Options, files: sources.Sources, workspace: Workspace, observe: Observer) -> AgentRun:
    """Let the agents do the job. Afterwards none of them remains, nor the registrar of a private registry."""
    job_orders = leader.Orders(workspace.team, files.root, files.names, 2 * options.workers, str(workspace.journal))
    workspace.orders.write_bytes(msgspec.json.encode(job_orders))
    agents = [*team.agents(options.workers), team.adder()]
    chaos_orders = chaos.Orders(workspace.team, agents, options.kills, options.seed)
    began = time.monotonic()
    with workspace.team.open() as registry:
        try:
            # This process starts the registrar, and keeps a connection to it. An agent that is ended in the middle of a
            # start would leave a process behind.
            registry.register(team.COORDINATOR).unregister()
            # They end in reverse order: chaos and the agents first, while a coordinator still leads.
            with (
                Coordinators(workspace, len(files.names)) as coordinators,
                _ChaosProcess(chaos_orders, workspace.log) as chaos_process,
            ):
                coordinators.watch_chaos(chaos_process.pipe)
                while not coordinators.is_over:
                    coordinators.receive(_RECEIVE_SECONDS)
                    observe(coordinators.view())
                seconds = time.monotonic() - began
        finally:
            clean_up(workspace, registry)
        if chaos_process.report is None:
            raise DemoFailed("chaos, which starts and kills the agents, has failed")
        updates = [process.update for process in coordinators.processes if process.update is not None]
        return AgentRun(journal.read(workspace.journal), updates, chaos_process.report, seconds)


def run_sequentially(files: sources.Sources, observe: Observer) -> Iterator[job.FileReport]:
    """The same job in this process, one file after the other."""
    began = time.monotonic()
    for done, name in enumerate(files.names, 1):
        yield job.analyse(Path(files.root), name)
        observe(View(len(files.names), time.monotonic() - began, done=done, sequential=True))


@contextlib.contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Only note the signals that ask to end. The demo calls the function that this returns where it is safe to end; the
    function raises `Interrupted` if a signal came."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    def raise_if_interrupted() -> None:
        if received:
            raise Interrupted(received[0])

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield raise_if_interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-_LOG_TAIL:]
    except FileNotFoundError:
        return ""
