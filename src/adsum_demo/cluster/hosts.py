"""A host, as the conductor sees it: its first process, the sockets that lead there, and what was heard from it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from .. import leader
from ..coordinator import DemoFailed
from ..status import JobEnd, StatusUpdate
from ..team import Agent, Team
from ..witness import Staleness
from . import control, deaths, grounds, processes
from .orders import Orders

STATES = ("starting", "up", "lost", "returning")


class Host:
    """Started, killed as a whole, and started again. `start_number` counts its starts."""

    def __init__(self, team: Team, agents: list[Agent], orders: Orders, ground: grounds.Ground, number: int) -> None:
        self.team = team
        self.agents = agents
        self.number = number
        self.start_number = 0
        self.state = "lost"
        # Its agents and its coordinator, as they were last started.
        self.processes: dict[str, deaths.Identity] = {}
        self.killed: dict[str, control.Killed] = {}
        # What its observer said of the process that is sought.
        self.found = False
        self.gone_at: float | None = None
        self.counts = control.Counts(0, 0, 0, Staleness())
        self._earlier_counts: list[control.Counts] = []
        self._orders = orders
        self._ground = ground
        self._folder = Path(orders.folder, team.node)
        self._deaths = Path(orders.folder, "deaths")

    @property
    def name(self) -> str:
        return self.team.node

    @property
    def is_up(self) -> bool:
        return self.state == "up"

    def all_counts(self) -> list[control.Counts]:
        """The reads of its observers, of this start and of earlier ones."""
        return [*self._earlier_counts, self.counts]

    def start(self) -> None:
        """Start it, with an empty memory."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self.start_number += 1
        self.processes.clear()
        self.state = "returning" if self.start_number > 1 else "starting"
        self._socket, control_end = socket.socketpair()
        self._observer, observer_end = socket.socketpair()
        self._status, status_end = socket.socketpair()
        with control_end, observer_end, status_end:
            arguments = msgspec.json.encode(self._host_orders(observer_end.fileno(), status_end.fileno())).decode()
            self._process = subprocess.Popen(
                [*self._ground.prefix(), sys.executable, "-P", "-m", "adsum_demo.cluster.host", arguments],
                stdin=control_end.fileno(),
                stdout=sys.stderr,
                pass_fds=(observer_end.fileno(), status_end.fileno()),
                env={**os.environ, "ADSUM_HOST": self.name, "ADSUM_CLUSTER_TTL": str(self._orders.ttl)},
            )
        self._first = self._ground.first_process(self._process.pid)
        self._ground.connect(self.number, self._first)
        control.send(self._socket, control.Begin())
        self.control: control.Inbox[control.FromHost] = control.Inbox(
            self._socket.fileno(), control.Started | control.Killed
        )
        self.observer: control.Inbox[control.FromObserver] = control.Inbox(
            self._observer.fileno(), control.Found | control.Gone | control.Counts
        )
        self.status: control.Inbox[StatusUpdate | JobEnd] = control.Inbox(self._status.fileno(), StatusUpdate | JobEnd)

    def _host_orders(self, observer: int, status: int) -> control.HostOrders:
        orders = self._orders
        bound, deaths_file = orders.bound, str(self._deaths)
        job = leader.Orders(
            self.team, orders.root, orders.names, 16, f"{orders.folder}/journal", deaths_file, bound, orders.gate
        )
        written = Path(orders.folder, f"{self.name}.orders")
        written.write_bytes(msgspec.json.encode(job))
        return control.HostOrders(
            self.team, self.agents, str(written), deaths_file, bound, observer, status, self._ground.has_namespaces
        )

    def say(self, message: msgspec.Struct) -> None:
        """Send a message to its first process. Errors: `DemoFailed`."""
        self._send(self._socket, message)

    def seek(self, name: str, process: deaths.Identity | None) -> None:
        """Have its observer look for a process. Errors: `DemoFailed`."""
        self.found, self.gone_at = False, None
        self._send(self._observer, control.Seek(name, process))

    def _send(self, sock: socket.socket, message: msgspec.Struct) -> None:
        try:
            control.send(sock, message)
        except OSError as error:
            raise DemoFailed(f"{self.name} has ended: {error}") from error

    def kill(self) -> float:
        """Kill all of its processes at once, and note their ends. Returns the moment after which none was left."""
        pids = [self._first, *processes.below(self._first)]
        ended = processes.kill_all(pids)
        deaths.append(self._deaths, self.processes.values(), ended)
        self.close()
        self._earlier_counts.append(self.counts)
        self.counts = control.Counts(0, 0, 0, Staleness())
        self.state = "lost"
        return ended

    def close(self) -> None:
        """Close the sockets, and wait for the end of its first process."""
        for sock in (self._socket, self._observer, self._status):
            sock.close()
        self._process.wait()
