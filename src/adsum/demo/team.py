"""Who is in the team, and what an agent must be told to take part."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

import adsum

from .job import STAGES

TIMEOUT = 10.0
_NAMES = {"reading": "reader", "parsing": "parser", "counting": "counter", "checking": "checker"}


class Team(msgspec.Struct, frozen=True):
    """Where the team meets: the registry's folder and namespace, and a folder for the agents' sockets."""

    registry: str
    namespace: str
    node: str
    sockets: str

    def open(self, limits: adsum.Limits | None = None) -> adsum.Registry:
        # Far longer than a write ever takes: this machine may be busy with anything, and a late agent is a good agent.
        return adsum.open(path=self.registry, namespace=self.namespace, node=self.node, timeout=TIMEOUT, limits=limits)


class Agent(msgspec.Struct, frozen=True):
    """An agent to be: its name and what it can do."""

    name: str
    abilities: list[str]


def agents(number: int) -> list[Agent]:
    """So many agents, who together have every ability: with four or more of them each has one."""
    abilities = [
        [STAGES[stage % len(STAGES)] for stage in range(max(number, len(STAGES))) if stage % number == index]
        for index in range(number)
    ]
    return [Agent(f"{_NAMES[able[0]]}-{index // len(STAGES) + 1}", able) for index, able in enumerate(abilities)]


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
