"""The command's side: the workspace, the conductor, the same job in one process, and the report."""

from __future__ import annotations

import importlib.util
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

import adsum

from .. import journal, sources, team
from ..coordinator import DemoFailed
from ..messages import READ_BYTES, Frames
from ..run import deferred_signals, run_sequentially, tail
from ..status import JobEnd
from ..view import Observer, View
from ..workspace import open_workspace
from . import etcd, grounds
from .control import Scene
from .kills import Outcome
from .orders import Orders
from .report import ClusterReport, make_report

HOSTS = ("host-a", "host-b", "host-c")
# The least that etcd takes at its defaults is 2: a lease must outlive an election.
TTL_SECONDS = 3
# A lease that has run out is revoked within half a second.
BOUND_SECONDS = TTL_SECONDS + 0.6
_END_SECONDS = 20.0
_STEP_SECONDS = 0.05
_LIMITS = adsum.Limits(max_memory_bytes=16 * 1024 * 1024, linger=2.0)


class Options(msgspec.Struct, frozen=True):
    """The arguments of the command. With `namespaces` None, hosts have them where they are to be had."""

    folder: Path | None
    workers: int
    kills: int
    seed: int
    namespaces: bool | None = None


class _Conductor:
    """The process of the conductor. As a context manager it ends it, and with it all that it has started."""

    def __init__(self, orders: Orders, prefix: list[str]) -> None:
        self._folder = Path(orders.folder)
        written = self._folder / "conductor.orders"
        written.write_bytes(msgspec.json.encode(orders))
        command = [*prefix, sys.executable, "-P", "-m", "adsum_demo.cluster.conductor", str(written)]
        with (self._folder / "agents.log").open("ab") as log:
            # A session of its own, so that Ctrl-C at the terminal does not reach it: the command decides when it ends.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self._frames: Frames[Scene | Outcome | JobEnd] = Frames(Scene | Outcome | JobEnd)

    def said(self) -> Iterator[Scene | Outcome | None]:
        """What it says, and None now and then, until the job has ended. Errors: `DemoFailed`."""
        pipe = self._pipe()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(_STEP_SECONDS):
                    yield None
                    continue
                part = pipe.read1(READ_BYTES)  # type: ignore[attr-defined]
                if not part:
                    raise DemoFailed("the conductor, which starts and kills the hosts, has failed")
                for message in self._frames.feed(part):
                    if not isinstance(message, JobEnd):
                        yield message
                    elif message.error:
                        raise DemoFailed(message.error)
                    else:
                        return

    def _pipe(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise DemoFailed("the conductor has no output")
        return self._process.stdout

    def __enter__(self) -> _Conductor:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Closes the lifeline.
            self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def run(options: Options, observe: Observer) -> ClusterReport:
    """Run the demo over three hosts; `observe` is called with every moment of it. However it ends, no process and no
    folder remains.

    Errors: `NoSources`, `NoEtcd`, `DemoFailed`, `Interrupted`.
    """
    with deferred_signals() as raise_if_interrupted:

        def observe_unless_interrupted(view: View) -> None:
            raise_if_interrupted()
            observe(view)

        files = sources.select(options.folder)
        if importlib.util.find_spec("grpc") is None:
            raise DemoFailed("a cluster needs grpcio and protobuf: pip install 'adsum[cluster]'")
        program = etcd.find_program()
        prefix = None if options.namespaces is False else grounds.command()
        if prefix is None and options.namespaces:
            raise DemoFailed(
                "namespaces are not to be had: they need root or user namespaces, unshare(1) and ip(8); without "
                "--namespaces the hosts are folders"
            )
        with open_workspace(None, None) as workspace:
            orders = Orders(
                folder=str(workspace.folder),
                etcd=str(program),
                hosts=_share_out(options.workers),
                root=files.root,
                names=files.names,
                kills=options.kills,
                seed=options.seed,
                ttl=TTL_SECONDS,
                bound=BOUND_SECONDS,
                has_namespaces=prefix is not None,
                limits=_LIMITS,
            )
            try:
                outcome, seconds = _conduct(orders, prefix or [], observe_unless_interrupted)
            except DemoFailed as error:
                raise DemoFailed(f"{error}\n{tail(workspace.log)}".strip()) from error
            records = journal.read(workspace.journal)
        began = time.monotonic()
        expected = list(run_sequentially(files, observe_unless_interrupted))
        alone = time.monotonic() - began
        return make_report(files, orders, records, outcome, expected, (seconds, alone))


def _share_out(workers: int) -> dict[str, list[team.Agent]]:
    """The agents of each host: one after the other, so that hosts have different capabilities."""
    agents = [*team.agents(max(workers, len(HOSTS))), msgspec.structs.replace(team.adder(), block_seconds=0.0)]
    return {host: agents[number :: len(HOSTS)] for number, host in enumerate(HOSTS)}


def _conduct(orders: Orders, prefix: list[str], observe: Observer) -> tuple[Outcome, float]:
    """Let the agents of all hosts do the job. The outcome, and the seconds that it took."""
    began = time.monotonic()
    events: list[str] = []
    view = View(len(orders.names), 0.0)
    outcome: Outcome | None = None
    with _Conductor(orders, prefix) as conductor:
        for said in conductor.said():
            if isinstance(said, Scene):
                events += said.events
                view = view._replace(
                    rows=said.rows,
                    done=said.done,
                    deaths=said.deaths,
                    events=events,
                    hosts=[(host.name, host.ip, host.state, host.leads) for host in said.hosts],
                    etcd=said.etcd,
                )
            elif said is not None:
                outcome = said
            view = view._replace(seconds=time.monotonic() - began)
            observe(view)
        seconds = time.monotonic() - began
    if outcome is None:
        raise DemoFailed("the conductor did not say what happened")
    return outcome, seconds
