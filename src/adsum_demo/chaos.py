"""Chaos: starts the agents, and keeps killing them for as long as there is work.

    python -m adsum_demo.chaos ORDERS < lifeline > havoc

The times of its kills come from the job's progress, which it reads in the coordinator's entry; the victims from a
seeded generator. A killed agent is left a zombie until the registry says that it is gone, so it shows what the registry
makes of zombies; then it is started again under the same id. Once, in the middle of the job, it kills the coordinator,
and looks until its stand-by holds the id.

It is a process of its own so that the coordinator, who must learn of deaths from the registry, is nobody's parent; and
because agents must die with the command. All of them share its lifeline, a pipe that the command holds open.
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

from .team import COORDINATOR, TIMEOUT, Agent, Team, call_this_process
from .witness import Witness, start_time

PAUSE_MS = 10
# At most so long from one look to the next; the kernel's word ends the pause at once.
LOOK_MS = 1
# Of the job, that the coordinator lives to see done.
COORDINATOR_LIVES = (0.3, 0.6)


class Orders(msgspec.Struct, frozen=True):
    team: Team
    agents: list[Agent]
    kills: int
    seed: int


class Kill(msgspec.Struct, frozen=True):
    """Seconds from a SIGKILL: until the kernel said that the process had ended, and until a lookup found nothing."""

    ended: float
    gone: float


class Takeover(msgspec.Struct, frozen=True):
    """Seconds from the SIGKILL of a coordinator until a lookup found its successor under the same id."""

    killed: int
    successor: int
    seconds: float


class Havoc(msgspec.Struct, frozen=True):
    """What chaos did, told when it ends."""

    kills: list[Kill] = []
    takeover: Takeover | None = None
    lookups: int = 0
    dead_handed_out: int = 0


class NotGone(Exception):
    """A killed agent is still in the registry: the promise that the demo is about is broken."""


class _Life:
    """An agent's process, from start to end."""

    def __init__(self, agent: Agent, team: Team) -> None:
        command = [sys.executable, "-P", "-m", agent.program]
        told = [msgspec.json.encode(struct).decode() for struct in (agent, team)]
        self.agent = agent
        # Until it is registered.
        self.incarnation = 0
        # The lifeline is this process's own input, and becomes the agent's.
        self.process = subprocess.Popen([*command, *told], stdout=sys.stderr)
        self.pidfd = os.pidfd_open(self.process.pid)

    def has_ended(self, within_ms: int) -> bool:
        """The kernel's word, as soon as it gives it; a zombie has ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within_ms))

    def kill(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def bury(self) -> None:
        self.process.wait()
        os.close(self.pidfd)


class Chaos:
    """The agents' lives, and their ends."""

    def __init__(self, orders: Orders, witness: Witness) -> None:
        self._team = orders.team
        self._witness = witness
        self._random = random.Random(orders.seed)
        # Parts of the job that must be done. None is close to the end, so that there is still work to be lost.
        moments = [0.9 * (kill + self._random.random()) / orders.kills for kill in range(orders.kills)]
        self._moments = sorted(moments, reverse=True)
        self._kills: list[Kill] = []
        self._takeover: Takeover | None = None
        # The part of the job after which the coordinator is killed. Where nobody is killed, it is not either.
        self._end_of_reign = self._random.uniform(*COORDINATOR_LIVES) if orders.kills else None
        self._lives = [_Life(agent, orders.team) for agent in orders.agents]

    def rage(self, lifeline: int) -> None:
        """Until the command's end of the lifeline closes. Errors: `NotGone`."""
        while not self._ended(lifeline):
            for life in self._lives:
                if not life.incarnation:
                    entry = self._witness.lookup(life.agent.name)
                    if entry is not None and entry.pid == life.process.pid:
                        life.incarnation = entry.incarnation
            coordinator = self._witness.lookup(COORDINATOR)
            # One that has only just got the id has told nothing yet.
            if coordinator is None or not coordinator.metadata.custom:
                continue
            if self._is_regicide_due(coordinator):
                self._depose(coordinator)
            elif victims := self._victims(coordinator):
                self._moments.pop()
                self._strike(self._random.choice(victims))

    def havoc(self) -> Havoc:
        return Havoc(self._kills, self._takeover, self._witness.lookups, self._witness.dead_handed_out)

    def end(self) -> None:
        for life in self._lives:
            life.kill()
        for life in self._lives:
            life.bury()

    def _ended(self, lifeline: int) -> bool:
        """Wait a moment, and start again who ended by himself. Somebody at another terminal may be killing, too."""
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        for life in self._lives:
            poll.register(life.pidfd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(PAUSE_MS)}
        if lifeline in ready:
            return True
        for life in [life for life in self._lives if life.pidfd in ready]:
            if not life.incarnation:
                sys.exit(f"{life.agent.name} ended before it was registered")
            self._replace(life)
        return False

    def _victims(self, coordinator: adsum.Entry) -> list[_Life]:
        """Whom to kill now, if it is time: those whom the coordinator knows, and will miss, and who are well. One that
        blocks its loop shows something else."""
        progress, met = coordinator.metadata.resources, coordinator.metadata.custom["met"]
        done, files = int(progress["files_done"]), int(progress["files"])
        if not self._moments or done >= files or done < self._moments[-1] * files:
            return []
        return [life for life in self._lives if life.incarnation in met and not life.agent.blocks]

    def _is_regicide_due(self, coordinator: adsum.Entry) -> bool:
        known, progress = coordinator.metadata.custom, coordinator.metadata.resources
        if self._end_of_reign is None or known["took_over"] or known["finished"]:
            return False
        return int(progress["files_done"]) >= self._end_of_reign * int(progress["files"])

    def _depose(self, coordinator: adsum.Entry) -> None:
        """Kill the coordinator, and look until its stand-by has its id."""
        self._end_of_reign = None
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
            took = time.monotonic() - sent
            if found is not None and found.incarnation != coordinator.incarnation:
                self._takeover = Takeover(coordinator.pid, found.pid, took)
                return
            if took > TIMEOUT:
                raise NotGone(f"nobody took over from the coordinator within {TIMEOUT:g} s of its SIGKILL")
            time.sleep(0.0001)

    def _strike(self, life: _Life) -> None:
        """Kill, and look until the registry says so: the first time after the kernel's word before anybody can have
        cleaned up. The dead one is left a zombie until then."""
        sent = time.monotonic()
        ended = None
        life.kill()
        while True:
            if ended is None and life.has_ended(LOOK_MS):
                ended = time.monotonic() - sent
            found = self._witness.lookup(life.agent.name)
            gone = time.monotonic() - sent
            if found is None:
                break
            if gone > TIMEOUT:
                raise NotGone(f"{life.agent.name} is still found {TIMEOUT:g} s after SIGKILL")
        self._kills.append(Kill(gone if ended is None else ended, gone))
        self._replace(life)

    def _replace(self, life: _Life) -> None:
        life.bury()
        self._lives[self._lives.index(life)] = _Life(life.agent, self._team)


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    call_this_process("chaos")
    with orders.team.open() as registry:
        chaos = Chaos(orders, Witness(registry))
        try:
            chaos.rage(sys.stdin.fileno())
        finally:
            chaos.end()
        sys.stdout.buffer.write(msgspec.json.encode(chaos.havoc()))


if __name__ == "__main__":
    main()
