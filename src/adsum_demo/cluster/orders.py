"""What the command asks of the conductor."""

from __future__ import annotations

import msgspec

import adsum

from ..team import Agent


class Orders(msgspec.Struct, frozen=True):
    """`hosts` has the agents of each host. `ttl` is that of the hosts' leases, in seconds, and `bound` the time after
    which no host may find a process that has ended. `names` are the files of the job, below `root`. The conductor makes
    the file `gate` when etcd's leader and a host have been killed: the last part of the job waits for that."""

    folder: str
    etcd: str
    hosts: dict[str, list[Agent]]
    root: str
    names: list[str]
    kills: int
    seed: int
    ttl: int
    bound: float
    has_namespaces: bool
    limits: adsum.Limits

    @property
    def gate(self) -> str:
        return f"{self.folder}/gate"
