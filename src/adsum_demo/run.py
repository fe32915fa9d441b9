"""The demo from beginning to end: everything is put in place, watched, taken away again, and compared."""

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

from . import job, journal, leader, sources, team, workspace
from .audience import Audience
from .chaos import Havoc, Orders
from .coordinator import DemoFailed
from .report import Lived, Report, compose
from .view import Observer, View

_PATIENCE_SECONDS = 10.0
_LISTEN_SECONDS = 0.05
_LOG_TAIL = 2000
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True):
    """What the command was told. Without `name` or `path` the registry is the demo's own."""

    folder: Path | None
    workers: int
    kills: int
    seed: int
    name: str | None = None
    path: Path | None = None


class Interrupted(Exception):
    """A signal asked the demo to end: `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


class _Chaos:
    """The process that starts and kills the agents, from its start to its end. With it all agents end."""

    def __init__(self, orders: Orders, log: Path) -> None:
        command = [sys.executable, "-P", "-m", "adsum_demo.chaos", msgspec.json.encode(orders).decode()]
        with log.open("ab") as errors:
            # In a session of its own Ctrl-C at the terminal does not reach it, so it ends when the command says so.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self.havoc: Havoc | None = None

    @property
    def pipe(self) -> IO[bytes]:
        """Ends when chaos does."""
        if self._process.stdout is None:
            raise DemoFailed("chaos has no output")
        return self._process.stdout

    def __enter__(self) -> _Chaos:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Closes the lifeline, and with it the life of every agent.
            told, _errors = self._process.communicate(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            told, _errors = self._process.communicate()
        if self._process.returncode == 0:
            self.havoc = msgspec.json.decode(told, type=Havoc)


def run(options: Options, observe: Observer) -> Report:
    """Run the demo; `observe` is shown every moment of it. Whatever ends it, no process and no folder stays.

    Errors: `NoSources`, `DemoFailed`, `Interrupted`, and the registry's.
    """
    with _signals_ask_to_end() as end_if_asked:

        def observe_or_end(view: View) -> None:
            end_if_asked()
            observe(view)

        chosen = sources.select(options.folder)
        with workspace.furnished(options.name, options.path) as where:
            try:
                lived = _live(options, chosen, where, observe_or_end)
            except DemoFailed as error:
                raise DemoFailed(f"{error}\n{_tail(where.log)}".strip()) from error
        begun = time.monotonic()
        expected = list(_alone(chosen, observe_or_end))
        return compose(chosen, options.workers, options.seed, lived, expected, time.monotonic() - begun)


def _live(options: Options, chosen: sources.Sources, where: workspace.Workspace, observe: Observer) -> Lived:
    """The job, done by agents. Afterwards none of them is left, nor the registrar of a private registry."""
    job_orders = leader.Orders(where.team, chosen.root, chosen.names, 2 * options.workers, str(where.journal))
    where.orders.write_bytes(msgspec.json.encode(job_orders))
    orders = Orders(where.team, [*team.agents(options.workers), team.adder()], options.kills, options.seed)
    began = time.monotonic()
    with where.team.open() as registry:
        try:
            # A write, so that a registrar serves before anybody else is there to start one: this process has to end it.
            registry.unregister(team.COORDINATOR)
            # Chaos ends first, so that nobody is missed any more when the coordinators end.
            with Audience(where, len(chosen.names)) as audience, _Chaos(orders, where.log) as chaos:
                audience.attend(chaos.pipe)
                while not audience.over:
                    audience.listen(_LISTEN_SECONDS)
                    observe(audience.view())
                seconds = time.monotonic() - began
        finally:
            workspace.wait_until_empty(registry)
            if where.private:
                workspace.end_registrar(registry)
        if chaos.havoc is None:
            raise DemoFailed("the process that starts and kills the agents has failed")
        heard = [speaker.update for speaker in audience.speakers if speaker.update is not None]
        return Lived(journal.read(where.journal), heard, chaos.havoc, seconds)


def _alone(chosen: sources.Sources, observe: Observer) -> Iterator[job.FileReport]:
    """The same job, done in this process, one file after the other."""
    begun = time.monotonic()
    for done, name in enumerate(chosen.names, 1):
        yield job.analyse(Path(chosen.root), name)
        observe(View("", "", [], done, len(chosen.names), time.monotonic() - begun, 0, [], alone=True))


@contextlib.contextmanager
def _signals_ask_to_end() -> Iterator[Callable[[], None]]:
    """While this lasts a signal interrupts nothing, it is noted: ending is safe only where the demo asks for it, by
    the callable that this gives. It raises `Interrupted`."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    def end_if_asked() -> None:
        if noted:
            raise Interrupted(noted[0])

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield end_if_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-_LOG_TAIL:]
    except FileNotFoundError:
        return ""
