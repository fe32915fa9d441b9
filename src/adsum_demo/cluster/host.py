"""The first process of a host: it starts the coordinator, the observer and the agents, and carries out what the
conductor says.

    python -P -m adsum_demo.cluster.host ORDERS <> control socket

In a PID namespace this is process 1, and all processes of the host end with it: SIGKILL for this one is a power failure
of the host. Where there are no namespaces, it adopts what its processes leave, so that the conductor finds them all
below it (`PR_SET_CHILD_SUBREAPER`, prctl(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..team import Agent, name_process
from ..witness import start_time
from . import control, grounds, processes
from .deaths import Identity, append

# The hosts share the processors of one machine. Agents compute all the time: they leave the registries, the bridges and
# etcd the time that these would have on machines of their own.
GIVE_WAY = ["nice", "-n", "10"]


class Child:
    """A process of this host. Its standard input is the host's lifeline."""

    def __init__(
        self, host: str, command: list[str], lifeline: int, output: int | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-P", "-m", *command],
            stdin=lifeline,
            stdout=sys.stderr if output is None else output,
            pass_fds=() if output is None else (output,),
        )
        self.pidfd = os.pidfd_open(self.process.pid)
        self.identity = Identity(host, self.process.pid, start_time(self.process.pid) or 0)

    def wait_until_ended(self) -> float:
        """Wait for the kernel's report, and return its moment. The process stays a zombie."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()
        return time.monotonic()

    def reap(self) -> None:
        self.process.wait()
        os.close(self.pidfd)


class Host:
    """The processes of one host."""

    def __init__(self, orders: control.HostOrders, sock: socket.socket) -> None:
        self._orders = orders
        self._sock = sock
        self._team = msgspec.json.encode(orders.team).decode()
        # Nothing is ever written: the children see its end.
        self._lifeline, self._held = os.pipe()
        self._agents = {agent.name: agent for agent in orders.agents}
        self._children: dict[str, Child] = {}
        self._dead: set[str] = set()

    def start(self) -> None:
        """Start everything. The registrar and the bridge first: what an agent starts would be left when it is
        killed."""
        with self._orders.team.open() as registry:
            registry.register(f"{self._orders.team.node} begins").unregister()
            self._start("coordinator", ["adsum_demo.leader", self._orders.leader], self._orders.status)
            orders = msgspec.json.encode(self._orders).decode()
            self._start("observer", ["adsum_demo.cluster.observer", orders], self._orders.observer)
            for agent in self._agents.values():
                self._start_agent(agent)
            self._serve()

    def _start(self, name: str, command: list[str], output: int | None = None, prefix: Sequence[str] = ()) -> None:
        child = self._children[name] = Child(self._orders.team.node, command, self._lifeline, output, prefix)
        control.send(self._sock, control.Started(name, child.identity))

    def _start_agent(self, agent: Agent) -> None:
        command = [agent.program, msgspec.json.encode(agent).decode(), self._team]
        self._start(agent.name, command, prefix=GIVE_WAY)

    def _serve(self) -> None:
        """Obey until the conductor's end of the socket is closed. Agents that end by themselves are started again: a
        user at another terminal may kill some."""
        inbox: control.Inbox[control.ToHost] = control.Inbox(
            self._sock.fileno(), control.Begin | control.Kill | control.Restart
        )
        while True:
            alive = {child.pidfd: name for name, child in self._children.items() if name not in self._dead}
            poll = select.poll()
            for descriptor in (inbox.fileno(), *alive):
                poll.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in poll.poll()]
            if inbox.fileno() in ready:
                messages = inbox.receive()
                if messages is None:
                    return
                for message in messages:
                    self._obey(message)
                continue
            for descriptor in ready:
                self._note_end(alive[descriptor])

    def _obey(self, message: control.ToHost) -> None:
        if isinstance(message, control.Kill):
            child = self._children[message.agent]
            sent = time.monotonic()
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            ended = child.wait_until_ended()
            self._note_death(message.agent, ended)
            control.send(self._sock, control.Killed(message.agent, sent, ended))
        elif isinstance(message, control.Restart):
            self._restart(message.agent)

    def _note_death(self, name: str, ended: float) -> None:
        append(Path(self._orders.deaths), [self._children[name].identity], ended)
        self._dead.add(name)

    def _note_end(self, name: str) -> None:
        self._note_death(name, time.monotonic())
        if name in self._agents:
            self._restart(name)

    def _restart(self, name: str) -> None:
        self._children[name].reap()
        self._dead.discard(name)
        self._start_agent(self._agents[name])


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=control.HostOrders)
    name_process(orders.team.node)
    processes.adopt_orphans()
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as sock:
        if orders.has_namespaces:
            # The conductor's word that the other end of the cable is there.
            if not sock.recv(64):
                return
            grounds.set_up_host(orders.team.node, orders.team.ip)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            Host(orders, sock).start()


if __name__ == "__main__":
    main()
