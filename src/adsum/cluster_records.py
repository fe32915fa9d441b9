"""`Origin` and `Reach`: what an entry says about the host of its member, in a registry that is part of a cluster."""

from enum import StrEnum

import msgspec


class Reach(StrEnum):
    """How far away a member is, for the reader: its own registry, another host, or a host that it cannot reach now.

    Two readers may differ: the same host can be reachable for one of them alone. None of the words says that a process
    has died. Members of this class compare equal to their strings.

    >>> registry.register("planner-1").entry.reach == "here"
    True
    >>> [reach.value for reach in adsum.Reach]
    ['here', 'remote', 'unreachable']
    """

    here = "here"
    remote = "remote"
    unreachable = "unreachable"


class Host(msgspec.Struct, frozen=True):
    """Another host of the cluster, as this registry knows it. Given by `Registry.hosts`.

    - `name`: in the cluster. `reach`: ``remote`` or ``unreachable``, a `Reach`.
    - `entries`: how many entries of it are in the tables here.
    - `nodes`: the nodes whose ids belong to it.
    - `fence`: the revision of etcd since which its bridge vouches for its entries; 0 where it is not known.
    - `left_out`: True where it has more entries than there is room for here (`Limits.max_remote_entries`), so that none
      is kept.

    >>> registry.hosts()
    []
    """

    name: str
    reach: Reach
    entries: int
    nodes: frozenset[str]
    fence: int
    left_out: bool


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where the entry of another host comes from. `Entry.origin` has it.

    - `host`: the name of the host in the cluster.
    - `number`: the number of the host in this registry, for as long as the host is known here.
    - `incarnation`, `revision`: those of the entry in the registry of its host, and `epoch` is that of this registry.
    - `reach`: ``remote``, or ``unreachable`` in an entry that was asked for with ``unreachable=True``.

    Fields are only ever appended: stored rows are arrays.

    >>> registry.register("planner-1").entry.origin is None
    True
    """

    host: str
    number: int
    incarnation: int
    revision: int
    epoch: int = 0
    reach: Reach = Reach.remote
