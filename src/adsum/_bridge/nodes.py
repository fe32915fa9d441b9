"""The nodes of this host in the cluster: each belongs to the host that was first, so no two hosts have the same id."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .._etcd.client import EtcdClient
from .._etcd.records import Put, absent
from .keys import Keys
from .tenure import FenceLost, HostTenure

log = logging.getLogger("adsum.bridge")

WRITE_SECONDS = 2.0


class Nodes:
    """The nodes that this host has claimed under the present fence. `refused` are those that belong to other hosts;
    `on_change` is called when these change."""

    def __init__(self, etcd: EtcdClient, keys: Keys, on_change: Callable[[], None]) -> None:
        self._etcd = etcd
        self._keys = keys
        self._on_change = on_change
        self._claimed: set[str] = set()
        self.refused: set[str] = set()

    def begin_anew(self) -> None:
        """Under another fence, each node is claimed again."""
        self._claimed.clear()

    def freed(self, node: str) -> bool:
        """A node belongs to no host any more. Whether it was refused here."""
        self._claimed.discard(node)
        return node in self.refused

    async def claim(self, tenure: HostTenure, node: str) -> None:
        """Have a node belong to this host, or note that it is refused. Errors: `FenceLost`; those of etcd."""
        key = self._keys.node(node)
        mine = Put(key, tenure.host.encode(), tenure.lease)
        while node not in self._claimed:
            page = await self._etcd.range(key)
            owner = page.items[0].value.decode(errors="replace") if page.items else ""
            if page.items and owner != tenure.host:
                self._refuse(node, owner)
                return
            guards = [tenure.guard(), *([] if page.items else [absent(key)])]
            done = await self._etcd.transaction(guards, [mine], timeout=WRITE_SECONDS)
            if done.succeeded:
                self._take(node)
                return
            host = await self._etcd.range(self._keys.host(tenure.host))
            if page.items or not host.items or host.items[0].mod_revision != tenure.fence:
                raise FenceLost("the key of the host was removed or written by another")

    def _refuse(self, node: str, owner: str) -> None:
        if node not in self.refused:
            log.error("the node %r belongs to the host %r: its members stay here", node, owner)
            self.refused.add(node)
            self._on_change()

    def _take(self, node: str) -> None:
        self._claimed.add(node)
        if node in self.refused:
            self.refused.discard(node)
            self._on_change()
