"""What the conductor, the hosts and the observers say to each other: length-prefixed msgpack on Unix socket pairs,
which lead into every namespace.
"""

from __future__ import annotations

import os
import socket
from typing import Generic, TypeAlias, TypeVar

import msgspec

from ..messages import READ_BYTES, Frames, frame
from ..team import Agent, Team
from ..view import Row
from ..witness import Staleness
from .deaths import Identity

T = TypeVar("T")


class HostOrders(msgspec.Struct, frozen=True):
    """A host: its agents, the files with the orders of its coordinator and of all deaths, and the descriptors that its
    first process has inherited. `has_namespaces` where it has a network and a host name of its own."""

    team: Team
    agents: list[Agent]
    leader: str
    deaths: str
    bound: float
    observer: int
    status: int
    has_namespaces: bool


# To a host


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """Its network is there."""


class Kill(msgspec.Struct, frozen=True, array_like=True, tag="kill"):
    """Kill this agent, and leave it a zombie."""

    agent: str


class Restart(msgspec.Struct, frozen=True, array_like=True, tag="restart"):
    agent: str


ToHost: TypeAlias = "Begin | Kill | Restart"


# From a host


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """A process that will be a member."""

    name: str
    process: Identity


class Killed(msgspec.Struct, frozen=True, array_like=True, tag="killed"):
    """The moments of SIGKILL and of the kernel's report, in seconds of CLOCK_MONOTONIC."""

    agent: str
    sent: float
    ended: float


FromHost: TypeAlias = "Started | Killed"


# To and from an observer


class Seek(msgspec.Struct, frozen=True, array_like=True, tag="seek"):
    """Say when a lookup finds this process, and then when it finds it no more. None: seek nothing."""

    name: str
    process: Identity | None


class Found(msgspec.Struct, frozen=True, array_like=True, tag="found"):
    name: str


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="gone"):
    """`at` is the moment at which the first lookup had returned that did not find it."""

    name: str
    at: float


class Counts(msgspec.Struct, frozen=True, array_like=True, tag="counts"):
    """All reads so far."""

    lookups: int
    finds: int
    dead_handed_out: int
    staleness: Staleness


FromObserver: TypeAlias = "Found | Gone | Counts"


# From the conductor to the command


class HostState(msgspec.Struct, frozen=True, array_like=True):
    """A host for people: `state` is starting, up, lost or returning; `leads` where the coordinator is."""

    name: str
    ip: str
    state: str
    leads: bool


class Scene(msgspec.Struct, frozen=True, array_like=True, tag="scene"):
    """One moment. `etcd` has the states of the members: leader, follower or dead. `events` are those since the last
    one."""

    hosts: list[HostState]
    etcd: list[str]
    rows: list[Row]
    done: int
    deaths: int
    events: list[str]


def send(sock: socket.socket, message: msgspec.Struct) -> None:
    """Errors: `OSError` where the other end is gone."""
    sock.sendall(frame(message))


class Inbox(Generic[T]):
    """The messages of one type that come from a descriptor."""

    def __init__(self, descriptor: int, kind: object) -> None:
        self.descriptor = descriptor
        self._frames: Frames[T] = Frames(kind)

    def fileno(self) -> int:
        return self.descriptor

    def receive(self) -> list[T] | None:
        """The next messages, perhaps none; None at the end."""
        try:
            part = os.read(self.descriptor, READ_BYTES)
        except ConnectionError:
            return None
        return self._frames.feed(part) if part else None
