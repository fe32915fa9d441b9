"""Chaos: starts the agents, and kills one after another for as long as there is work.

    python -m adsum_demo.chaos ORDERS < lifeline > report

When it kills depends on the progress of the job, which it reads in the coordinator's entry; which agent it kills comes
from a seeded generator. A killed agent is left a zombie until a lookup misses it, so every kill shows that the registry
does not count zombies as alive; then the agent is started again under the same id. Once, in the middle of the job, it
kills the coordinator and looks its id up until the stand-by holds it.

Chaos is a process of its own for two reasons: the coordinator, which must learn of deaths from the registry, is then
not the agents' parent; and the agents must end with the command. They inherit its lifeline, a pipe that the command
holds.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

import msgspec

import adsum

from .team import COORDINATOR, TIMEOUT, Agent, Team, name_process
from .witness import Witness, start_time

PAUSE_MS = 10
# At most this long between two lookups of a killed agent. The pidfd ends the pause at once.
LOOKUP_PAUSE_MS = 1
# The part of the job after which the coordinator is killed lies between these two.
COORDINATOR_KILL_RANGE = (0.3, 0.6)


class Orders(msgspec.Struct, frozen=True):
    """How many agents to kill, and the seed that chooses them and the moments."""

    team: Team
    agents: list[Agent]
    kills: int
    seed: int


class Kill(msgspec.Struct, frozen=True):
    """Seconds from a SIGKILL until the kernel reported the death, and until a lookup missed the agent."""

    ended: float
    gone: float


class Takeover(msgspec.Struct, frozen=True):
    """Seconds from the SIGKILL of a coordinator until a lookup found its successor under the same id."""

    killed: int
    successor: int
    seconds: float


class ChaosReport(msgspec.Struct, frozen=True):
    """The kills, and the answers of the registry, counted. Written when chaos ends."""

    kills: list[Kill] = []
    takeover: Takeover | None = None
    lookups: int = 0
    dead_handed_out: int = 0


class StillRegistered(Exception):
    """A lookup still finds a process long after its death: the registry breaks the promise that the demo shows."""


class _AgentProcess:
    """The process of an agent, from start to end."""

    def __init__(self, agent: Agent, team: Team) -> None:
        arguments = [msgspec.json.encode(struct).decode() for struct in (agent, team)]
        self.agent = agent
        # 0 until it is registered.
        self.incarnation = 0
        # It inherits standard input, which is the lifeline.
        self.process = subprocess.Popen([sys.executable, "-P", "-m", agent.program, *arguments], stdout=sys.stderr)
        self.pidfd = os.pidfd_open(self.process.pid)

    def has_ended(self, within_ms: int) -> bool:
        """Whether the process ends within so many milliseconds, or has ended; a zombie has."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within_ms))

    def kill(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> None:
        self.process.wait()
        os.close(self.pidfd)


class Chaos:
    """Starts, kills and restarts the agents."""

    def __init__(self, orders: Orders, witness: Witness) -> None:
        self._team = orders.team
        self._witness = witness
        self._random = random.Random(orders.seed)
        # The part of the job that is done at each kill. None is close to the end, so that a kill can lose work.
        moments = [0.9 * (kill + self._random.random()) / orders.kills for kill in range(orders.kills)]
        self._moments = sorted(moments, reverse=True)
        self._kills: list[Kill] = []
        self._takeover: Takeover | None = None
        # The part of the job that is done when the coordinator is killed. Without kills it is spared, too.
        self._coordinator_moment = self._random.uniform(*COORDINATOR_KILL_RANGE) if orders.kills else None
        self._agents = [_AgentProcess(agent, orders.team) for agent in orders.agents]

    def run(self, lifeline: int) -> None:
        """Kill until the command closes its end of the lifeline. Errors: `StillRegistered`."""
        while not self._is_over(lifeline):
            for agent in self._agents:
                if not agent.incarnation:
                    entry = self._witness.lookup(agent.agent.name)
                    if entry is not None and entry.pid == agent.process.pid:
                        agent.incarnation = entry.incarnation
            coordinator = self._witness.lookup(COORDINATOR)
            # A coordinator that has just got the id has not published its progress yet.
            if coordinator is None or not coordinator.metadata.custom:
                continue
            if self._is_coordinator_due(coordinator):
                self._kill_coordinator(coordinator)
            elif victims := self._victims(coordinator):
                self._moments.pop()
                self._kill_agent(self._random.choice(victims))

    def report(self) -> ChaosReport:
        return ChaosReport(self._kills, self._takeover, self._witness.lookups, self._witness.dead_handed_out)

    def end(self) -> None:
        """Kill all agents."""
        for agent in self._agents:
            agent.kill()
        for agent in self._agents:
            agent.reap()

    def _is_over(self, lifeline: int) -> bool:
        """Wait a moment, and restart agents that died meanwhile: a user at another terminal may kill some, too. Whether
        the lifeline was closed."""
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        for agent in self._agents:
            poll.register(agent.pidfd, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(PAUSE_MS)}
        if lifeline in ready:
            return True
        for agent in [agent for agent in self._agents if agent.pidfd in ready]:
            if not agent.incarnation:
                sys.exit(f"{agent.agent.name} ended before it was registered")
            self._restart(agent)
        return False

    def _victims(self, coordinator: adsum.Entry) -> list[_AgentProcess]:
        """The agents that may be killed now, none where it is not time: those that the coordinator knows and so will
        miss, except the one that blocks its loop."""
        progress, known = coordinator.metadata.resources, coordinator.metadata.custom["known"]
        done, files = int(progress["files_done"]), int(progress["files"])
        if not self._moments or done >= files or done < self._moments[-1] * files:
            return []
        return [agent for agent in self._agents if agent.incarnation in known and not agent.agent.block_seconds]

    def _is_coordinator_due(self, coordinator: adsum.Entry) -> bool:
        custom, progress = coordinator.metadata.custom, coordinator.metadata.resources
        if self._coordinator_moment is None or custom["took_over"] or custom["finished"]:
            return False
        return int(progress["files_done"]) >= self._coordinator_moment * int(progress["files"])

    def _kill_coordinator(self, coordinator: adsum.Entry) -> None:
        """Kill the coordinator, and look its id up until the stand-by holds it."""
        self._coordinator_moment = None
        pidfd = os.pidfd_open(coordinator.pid)
        try:
            if start_time(coordinator.pid) != coordinator.start_time:
                return
            sent = time.monotonic()
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
        while True:
            found = self._witness.lookup(COORDINATOR)
            seconds = time.monotonic() - sent
            if found is not None and found.incarnation != coordinator.incarnation:
                self._takeover = Takeover(coordinator.pid, found.pid, seconds)
                return
            if seconds > TIMEOUT:
                raise StillRegistered(f"the stand-by did not take over within {TIMEOUT:g} s of the coordinator's death")
            time.sleep(0.0001)

    def _kill_agent(self, agent: _AgentProcess) -> None:
        """Kill an agent, and look it up until the lookup misses it. It stays a zombie for as long."""
        sent = time.monotonic()
        ended = None
        agent.kill()
        while True:
            # The first lookup after the kernel's report comes before the registrar can have cleaned up.
            if ended is None and agent.has_ended(LOOKUP_PAUSE_MS):
                ended = time.monotonic() - sent
            found = self._witness.lookup(agent.agent.name)
            gone = time.monotonic() - sent
            if found is None:
                break
            if gone > TIMEOUT:
                raise StillRegistered(f"a lookup still finds {agent.agent.name} {TIMEOUT:g} s after SIGKILL")
        self._kills.append(Kill(gone if ended is None else ended, gone))
        self._restart(agent)

    def _restart(self, agent: _AgentProcess) -> None:
        agent.reap()
        self._agents[self._agents.index(agent)] = _AgentProcess(agent.agent, self._team)


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    name_process("chaos")
    with orders.team.open() as registry:
        chaos = Chaos(orders, Witness(registry))
        try:
            chaos.run(sys.stdin.fileno())
        finally:
            chaos.end()
        sys.stdout.buffer.write(msgspec.json.encode(chaos.report()))


if __name__ == "__main__":
    main()
