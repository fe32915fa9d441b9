"""The conductor: starts etcd and the hosts, kills at moments that follow the progress of the job, and measures.

    python -P -m adsum_demo.cluster.conductor ORDERS < lifeline > scenes

With namespaces it is process 1 of a PID namespace, so whatever ends it, the kernel ends all that it has started. The
command holds its lifeline.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import msgspec

from ..coordinator import DemoFailed
from ..messages import frame
from ..status import JobEnd, StatusUpdate
from ..team import Team, name_process
from ..view import Row
from ..witness import Staleness
from . import control, grounds, kills, processes
from .etcd import Etcd
from .hosts import Host
from .orders import Orders

STEP_SECONDS = 0.02
SCENE_SECONDS = 0.1
START_SECONDS = 90.0
END_SECONDS = 1.0
# The parts of the job after which etcd's leader and the host of the coordinator are killed.
LEADER_KILL_RANGE, HOST_KILL_RANGE = (0.1, 0.25), (0.35, 0.5)


class Ended(Exception):
    """The command has closed the lifeline."""


class Conductor:
    """One run. `leading` is the host of the coordinator, empty while there is none."""

    def __init__(self, orders: Orders, etcd: Etcd, ground: grounds.Ground, lifeline: int, output: int) -> None:
        self.orders = orders
        self.etcd = etcd
        self.leading = ""
        self.is_over = False
        self.hosts = [
            Host(self._team(name, ground.ip(number)), agents, orders, ground, number)
            for number, (name, agents) in enumerate(orders.hosts.items())
        ]
        self._lifeline = lifeline
        self._output = output
        self._events: list[str] = []
        # The last word of each coordinator, by its host and the start of that.
        self._updates: dict[tuple[str, int], StatusUpdate] = {}
        self._latest: tuple[str, int] | None = None
        self._etcd_states = etcd.states()
        self._shown_at = 0.0
        self._agents: list[kills.AgentKill] = []
        self._host: kills.HostKill | None = None
        self._leader: kills.LeaderKill | None = None

    def _team(self, name: str, ip: str) -> Team:
        return Team(
            registry=f"{self.orders.folder}/{name}/registry",
            namespace="default",
            node=name,
            sockets="",
            limits=self.orders.limits,
            cluster=self.etcd.address("demo"),
            ip=ip,
        )

    # The play

    def run(self) -> None:
        """Kill until the job is done. Errors: `DemoFailed`, `EndRecord`."""
        for host in self.hosts:
            host.start()
        if not self.wait(lambda: bool(self.leading), START_SECONDS):
            raise DemoFailed(f"no coordinator leads after {START_SECONDS:g} s")
        moments = self._moments()
        chance = random.Random(self.orders.seed)
        while not self.is_over:
            if all(what == "agent" for _, what in moments):
                Path(self.orders.gate).touch()
            self.pump(STEP_SECONDS)
            if moments and self._done() >= moments[0][0] * len(self.orders.names):
                what = moments[0][1]
                if victims := self._victims(leading=what == "host"):
                    moments.pop(0)
                    self._act(what, *chance.choice(victims))
        # The last counts of the observers.
        until = time.monotonic() + END_SECONDS
        self.wait(lambda: time.monotonic() > until, END_SECONDS)

    def _moments(self) -> list[tuple[float, str]]:
        """The parts of the job that are done at each kill, and what is killed then. None is close to the end, so that a
        kill can lose work."""
        orders = self.orders
        chance = random.Random(orders.seed)
        moments = [(0.9 * (kill + chance.random()) / orders.kills, "agent") for kill in range(orders.kills)]
        if orders.kills:
            moments += [(chance.uniform(*LEADER_KILL_RANGE), "leader"), (chance.uniform(*HOST_KILL_RANGE), "host")]
        return sorted(moments)

    def _victims(self, *, leading: bool) -> list[tuple[Host, str]]:
        """The agents that may be killed now: those that the coordinator knows and so will miss; with `leading`, those
        on its own host."""
        if not self.leading or self._latest is None:
            return []
        known = {row.name: row.pid for row in self._updates[self._latest].rows}
        return [
            (host, name)
            for host in self.hosts
            for name, process in host.processes.items()
            if host.is_up and known.get(name) == process.pid and (host.name == self.leading or not leading)
        ]

    def _act(self, what: str, host: Host, name: str) -> None:
        if what == "host":
            self._host = kills.kill_host(self, host, name)
            return
        if what == "agent":
            killed = kills.kill_agent(self, host, name)
        elif (both := kills.kill_agent_and_leader(self, host, name)) is None:
            return
        else:
            killed, self._leader = both
        if killed is not None:
            self._agents.append(killed)

    def _done(self) -> int:
        return self._updates[self._latest].done if self._latest is not None else 0

    def outcome(self) -> kills.Outcome:
        updates = self._updates.values()
        counts = [counts for host in self.hosts for counts in host.all_counts()]
        reads: list[StatusUpdate | control.Counts] = [*updates, *counts]
        return kills.Outcome(
            agents=self._agents,
            host=self._host,
            leader=self._leader,
            deaths=max((update.deaths for update in updates), default=0),
            lookups=sum(one.lookups for one in reads),
            finds=sum(one.finds for one in reads),
            dead_handed_out=sum(one.dead_handed_out for one in reads),
            staleness=reduce(Staleness.plus, (one.staleness for one in reads), Staleness()),
            etcd=self.etcd.version,
        )

    # What is heard

    def note(self, event: str) -> None:
        """Add a line to the events of the next scene."""
        self._events.append(event)

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Take what is heard until a condition holds. Whether it does within so many seconds."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            self.pump(STEP_SECONDS)
        return True

    def pump(self, seconds: float) -> None:
        """Take what is heard within so many seconds, and show it. Errors: `DemoFailed`, `EndRecord`."""
        sources: dict[int, tuple[Host, Callable[[Host], bool]]] = {}
        for host in self.hosts:
            if host.state != "lost":
                sources[host.control.fileno()] = host, self._hear_host
                sources[host.observer.fileno()] = host, self._hear_observer
                sources[host.status.fileno()] = host, self._hear_coordinator
        poll = select.poll()
        for descriptor in (self._lifeline, *sources):
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(seconds * 1000):
            if descriptor == self._lifeline:
                raise Ended
            host, hear = sources[descriptor]
            if not hear(host):
                raise DemoFailed(f"a process of {host.name} has ended by itself")
        if time.monotonic() > self._shown_at + SCENE_SECONDS:
            self._show()

    def _hear_host(self, host: Host) -> bool:
        messages = host.control.receive()
        for message in messages or ():
            if isinstance(message, control.Started):
                host.processes[message.name] = message.process
            else:
                host.killed[message.agent] = message
        return messages is not None

    def _hear_observer(self, host: Host) -> bool:
        messages = host.observer.receive()
        for message in messages or ():
            match message:
                case control.Found():
                    host.found = True
                case control.Gone(_, at):
                    host.gone_at = at
                case control.Counts():
                    host.counts = message
                    if host.state == "starting":
                        host.state = "up"
        return messages is not None

    def _hear_coordinator(self, host: Host) -> bool:
        messages = host.status.receive()
        for message in messages or ():
            if isinstance(message, StatusUpdate):
                self._latest = host.name, host.start_number
                self._updates[self._latest] = message
                self._events += message.events
                self.leading = host.name
            elif message.error:
                raise DemoFailed(message.error)
            else:
                self.is_over = True
        return messages is not None

    # What is shown

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self._etcd_states = self.etcd.states()
        events, self._events = self._events, []
        latest = self._updates[self._latest] if self._latest is not None else None
        self.say(
            control.Scene(
                hosts=[
                    control.HostState(host.name, host.team.ip, host.state, host.name == self.leading)
                    for host in self.hosts
                ],
                etcd=self._etcd_states,
                rows=self._rows(latest) if latest is not None else [],
                done=latest.done if latest is not None else 0,
                deaths=latest.deaths if latest is not None else 0,
                events=events,
            )
        )

    def _rows(self, latest: StatusUpdate) -> list[Row]:
        """The rows of the coordinator that leads, with the pieces that earlier ones gave."""
        earlier: Counter[str] = Counter()
        for who, update in self._updates.items():
            if who != self._latest:
                earlier.update({row.name: row.pieces for row in update.rows})
        return [row._replace(pieces=row.pieces + earlier[row.name]) for row in latest.rows]

    def say(self, message: msgspec.Struct) -> None:
        """Send a message to the command."""
        data = memoryview(frame(message))
        while data:
            data = data[os.write(self._output, data) :]

    def close(self) -> None:
        """Kill all hosts, that of the coordinator last, so that no other takes over."""
        for host in sorted(self.hosts, key=lambda host: host.name == self.leading):
            if host.state != "lost":
                host.kill()


@contextlib.contextmanager
def _orphans_end() -> Iterator[None]:
    """Adopt what the hosts leave, and kill what is left at the end."""
    processes.adopt_orphans()
    try:
        yield
    finally:
        while left := processes.below(os.getpid()):
            processes.kill_all(left)
            processes.reap_adopted()


def main() -> None:
    orders = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)
    name_process("conductor")
    output = sys.stdout.fileno()
    end: msgspec.Struct = JobEnd("")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_orphans_end())
        try:
            ground = grounds.Namespaces() if orders.has_namespaces else grounds.Folders()
            etcd = stack.enter_context(Etcd(Path(orders.etcd), Path(orders.folder, "etcd"), ground.etcd_ip))
            conductor = Conductor(orders, etcd, ground, sys.stdin.fileno(), output)
            stack.callback(conductor.close)
            conductor.run()
            conductor.say(conductor.outcome())
        except DemoFailed as error:
            end = JobEnd(str(error))
        except (Ended, BrokenPipeError):
            return
    with contextlib.suppress(BrokenPipeError):
        os.write(output, frame(end))


if __name__ == "__main__":
    main()
