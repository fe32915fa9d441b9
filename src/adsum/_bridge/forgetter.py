"""Forgetting: the entries of a host that could not be reached for long are deleted, by one of the bridges.

Nothing says that their processes have died. But a host that never comes back would fill all tables for ever, and a pod
with a name of its own never comes back. The deletion is guarded by the absence of the host's key, so a host that is
back loses nothing. The host itself, if it comes back later, writes all of its entries again.

Each bridge counts the time by its own clock, from when it saw that the host was lost. They take turns in the order of
their names, so that mostly one of them writes.
"""

from __future__ import annotations

import asyncio
import logging

from .._etcd.client import EtcdClient
from .._etcd.errors import AccessDenied, EtcdError
from .._etcd.records import absent
from .._store.hosts import boottime_ns
from .etcd_reader import EtcdReader
from .keys import Keys
from .leaving import last_operations
from .tenure import SECOND, HostTenure

log = logging.getLogger("adsum.bridge")

FORGET_AFTER = 600.0
LOOK_SECONDS = 1.0
# Between the turns of two bridges.
TURN_SECONDS = 2.0
DELETE_SECONDS = 10.0

# A host, and how often it was seen to be there: a host that has returned meanwhile is lost anew.
Loss = tuple[str, int]


class Forgetter:
    """Forgets the hosts that `etcd_reader` has seen to be unreachable for `seconds`."""

    def __init__(
        self, etcd: EtcdClient, keys: Keys, etcd_reader: EtcdReader, tenure: HostTenure, seconds: float
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._etcd_reader = etcd_reader
        self._tenure = tenure
        self.seconds = seconds
        self._since: dict[Loss, int] = {}
        # Up to where the etcd reader has to come before it can say that a host was not back meanwhile.
        self._until: dict[Loss, int] = {}
        self._denied: set[str] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            for loss in self._due():
                try:
                    await self._consider(loss)
                except AccessDenied as error:
                    self._complain_once(loss[0], error)
                except EtcdError as error:
                    log.warning("%s is forgotten later: %s", loss[0], error)
            await asyncio.sleep(min(LOOK_SECONDS, self.seconds / 4))

    def begin_anew(self) -> None:
        """The revisions of etcd count anew."""
        self._until.clear()

    def _due(self) -> list[Loss]:
        remote_hosts, now = self._etcd_reader.remote_hosts, boottime_ns()
        lost = [(host, remote_hosts.returns[host]) for host, view in remote_hosts.hosts.items() if not view.fence]
        self._since = {loss: self._since.get(loss, now) for loss in lost}
        here = sorted([self._tenure.host, *(host for host, view in remote_hosts.hosts.items() if view.fence)])
        wait = (self.seconds + TURN_SECONDS * here.index(self._tenure.host)) * SECOND
        due = [loss for loss, since in self._since.items() if now - since >= wait]
        self._until = {loss: self._until[loss] for loss in due if loss in self._until}
        return due

    async def _consider(self, loss: Loss) -> None:
        """Forget a host that is due, one round after the question how far etcd is: an etcd reader that was cut off does
        not know yet whether the host was back."""
        if loss not in self._until:
            self._until[loss] = (await self._etcd.range(self._keys.host(loss[0]))).revision
        elif self._etcd_reader.revision >= self._until[loss]:
            await self._forget(loss[0])

    async def _forget(self, host: str) -> None:
        done = await self._etcd.transaction(
            [self._tenure.guard(), absent(self._keys.host(host))],
            last_operations(self._keys, host, "unreachable_forgotten", self._tenure.lease),
            timeout=DELETE_SECONDS,
        )
        if done.succeeded:
            log.warning("the host %s is forgotten: it was unreachable for %g s", host, self.seconds)

    def _complain_once(self, host: str, error: EtcdError) -> None:
        if host not in self._denied:
            self._denied.add(host)
            log.warning("this host may not forget %s, another one has to: %s", host, error)
