"""The members of the team, and the parameters that an agent needs to take part."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

import adsum

from .job import STAGES, SUMMING
from .messages import listen, listen_on

COORDINATOR = "coordinator"
TIMEOUT = 10.0
_NAMES = {"reading": "reader", "parsing": "parser", "counting": "counter", "checking": "checker"}


class Team(msgspec.Struct, frozen=True):
    """The registry and namespace of the team, and a folder for the agents' sockets. `limits` count where the team
    creates the registry. With `cluster`, the registry is part of that cluster, and agents listen at `ip` for other
    hosts."""

    registry: str
    namespace: str
    node: str
    sockets: str
    limits: adsum.Limits | None = None
    cluster: str = ""
    ip: str = ""

    def open(self) -> adsum.Registry:
        # Far longer than a write takes: the machine may be busy, and an agent that registers late is still useful.
        return adsum.open(
            path=self.registry,
            namespace=self.namespace,
            node=self.node,
            timeout=TIMEOUT,
            limits=self.limits,
            cluster=self.cluster or None,
        )

    def open_async(self) -> adsum.AsyncRegistry:
        return adsum.open_async(
            path=self.registry,
            namespace=self.namespace,
            node=self.node,
            timeout=TIMEOUT,
            limits=self.limits,
            cluster=self.cluster or None,
        )

    def listen(self, name: str) -> tuple[socket.socket, str]:
        """A listening socket for the agent with this name, and its endpoint."""
        if self.ip:
            return listen_on(self.ip)
        path = Path(self.sockets, name)
        return listen(path), f"unix:{path}"


class Agent(msgspec.Struct, frozen=True):
    """The description of an agent: its name, its capabilities, and the module that it runs. It blocks its event loop
    for `block_seconds`, once, in the middle of its first piece of work."""

    name: str
    capabilities: list[str]
    program: str = "adsum_demo.worker"
    block_seconds: float = 0.0


# A blocked event loop is degraded after 1.5 seconds and unhealthy after 3. This is between the two.
BLOCKED_SECONDS = 2.5


def agents(number: int) -> list[Agent]:
    """So many agents, which together have every capability of a stage: with four or more of them, each has one."""
    capabilities = [
        [STAGES[stage % len(STAGES)] for stage in range(max(number, len(STAGES))) if stage % number == index]
        for index in range(number)
    ]
    return [Agent(f"{_NAMES[able[0]]}-{index // len(STAGES) + 1}", able) for index, able in enumerate(capabilities)]


def adder() -> Agent:
    """The agent that sums up packages, in an event loop that it blocks once."""
    return Agent("adder-1", [SUMMING], "adsum_demo.adder", BLOCKED_SECONDS)


def name_process(name: str) -> None:
    """Set the name that ps and top show; the kernel keeps 15 characters (proc(5))."""
    Path("/proc/self/comm").write_text(name[:15], encoding="ascii")


def exit_at_end_of(lifeline: int) -> None:
    """Wait until the command's end of the lifeline, a pipe, is closed, and exit at once. The kernel closes it in every
    case, also when the command is killed."""
    os.read(lifeline, 1)
    os._exit(0)
