"""Who is in the team, and what an agent must be told to take part."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

import adsum

from .job import STAGES, SUMMING

COORDINATOR = "coordinator"
TIMEOUT = 10.0
_NAMES = {"reading": "reader", "parsing": "parser", "counting": "counter", "checking": "checker"}


class Team(msgspec.Struct, frozen=True):
    """Where the team meets: the registry's folder and namespace, and a folder for the agents' sockets. `limits` are
    those of a registry that the team makes itself."""

    registry: str
    namespace: str
    node: str
    sockets: str
    limits: adsum.Limits | None = None

    def open(self) -> adsum.Registry:
        # Far longer than a write ever takes: this machine may be busy with anything, and a late agent is a good agent.
        return adsum.open(
            path=self.registry, namespace=self.namespace, node=self.node, timeout=TIMEOUT, limits=self.limits
        )

    def open_async(self) -> adsum.AsyncRegistry:
        return adsum.open_async(
            path=self.registry, namespace=self.namespace, node=self.node, timeout=TIMEOUT, limits=self.limits
        )


class Agent(msgspec.Struct, frozen=True):
    """An agent to be: its name, what it can do, and the module that it runs. One that `blocks` does so for so many
    seconds, once, in the middle of its first piece of work."""

    name: str
    abilities: list[str]
    program: str = "adsum_demo.worker"
    blocks: float = 0.0


# Long enough to be found late, and not so long that it counts as unhealthy: a blocked event loop is degraded after 1.5
# seconds, unhealthy after 3.
BLOCKED_SECONDS = 2.5


def agents(number: int) -> list[Agent]:
    """So many agents, who together have every ability: with four or more of them each has one."""
    abilities = [
        [STAGES[stage % len(STAGES)] for stage in range(max(number, len(STAGES))) if stage % number == index]
        for index in range(number)
    ]
    return [Agent(f"{_NAMES[able[0]]}-{index // len(STAGES) + 1}", able) for index, able in enumerate(abilities)]


def adder() -> Agent:
    """The one who sums up packages, in an event loop that it blocks once."""
    return Agent("adder-1", [SUMMING], "adsum_demo.adder", BLOCKED_SECONDS)


def address(endpoint: str | None) -> Path:
    """The socket's path in an agent's endpoint, ``unix:PATH``."""
    scheme, _, path = (endpoint or "").partition(":")
    if scheme != "unix":
        raise ValueError(f"endpoint {endpoint!r} is no unix: address")
    return Path(path)


def call_this_process(name: str) -> None:
    """The name that ps and top show; the kernel keeps 15 characters (proc(5))."""
    Path("/proc/self/comm").write_text(name[:15], encoding="ascii")


def leave_when_deserted(lifeline: int) -> None:
    """Block until the command's end of the pipe closes, however it ended, then leave this process at once."""
    os.read(lifeline, 1)
    os._exit(0)
