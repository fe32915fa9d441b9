"""What there is to see while the demo runs. The command decides how to show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias


class Row(NamedTuple):
    """An agent. `pid`, `incarnation` and `health` come from the registry, and are None while it is not registered.
    `pieces` counts the finished pieces of work; `at` is the piece in hand. In a cluster, `host` is where it runs."""

    name: str
    capabilities: str
    pid: int | None
    incarnation: int | None
    health: str | None
    pieces: int
    at: str
    host: str = ""


class View(NamedTuple):
    """One moment of the demo. `events` holds every event so far, oldest first; `sequential` is True in the run of one
    process that the agents are compared with. In a cluster, `hosts` has name, address and state of each host and
    whether it leads, and `etcd` the members of etcd."""

    files: int
    seconds: float
    registry: str = ""
    namespace: str = ""
    rows: Sequence[Row] = ()
    done: int = 0
    deaths: int = 0
    events: Sequence[str] = ()
    sequential: bool = False
    hosts: Sequence[tuple[str, str, str, bool]] = ()
    etcd: Sequence[str] = ()


# Called with every moment; it ends the demo by raising an exception.
Observer: TypeAlias = Callable[[View], None]
