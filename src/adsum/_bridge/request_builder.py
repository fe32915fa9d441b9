"""A request of the bridge to the registrar in the making: what several revisions of etcd say, in their order."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .. import _wire as wire

# So many changes, or so many bytes of values, are in one request at most.
MOST_CHANGES = 500
MOST_BYTES = 1024 * 1024


class RequestBuilder:
    """A request in the making."""

    def __init__(self) -> None:
        self.hosts: dict[str, wire.RemoteHost] = {}
        self._changes: list[wire.RemoteChange] = []
        self._exits: list[wire.RemoteExit] = []
        self._bytes = 0

    def add(self, change: wire.RemoteChange, size: int) -> Iterator[wire.ApplyRemote]:
        """Add the change of an entry. Yields a request where this one is full: what takes reach away is in the first
        one, and what gives it in the last."""
        self._changes.append(change)
        self._bytes += size
        if len(self._changes) >= MOST_CHANGES or self._bytes >= MOST_BYTES:
            later = {name: host for name, host in self.hosts.items() if host.state in ("here", "returning")}
            yield from self.flush(losing_only=True)
            self.hosts = later

    def say(self, host: wire.RemoteHost) -> Iterator[wire.ApplyRemote]:
        """Add what a host is now. Yields a request where this one has another state of it."""
        if host.host in self.hosts and self.hosts[host.host].state != host.state:
            yield from self.flush()
        self.hosts[host.host] = host

    def note(self, exit: wire.RemoteExit) -> Iterator[wire.ApplyRemote]:
        """Add the exit of an entry whose end is in this request, or in an earlier one."""
        self._exits.append(exit)
        if len(self._exits) >= MOST_CHANGES:
            yield from self.flush()

    def flush(self, *, losing_only: bool = False) -> Iterator[wire.ApplyRemote]:
        """What there is, as a request. With `losing_only`, hosts that are here are only made known."""
        hosts = list(self.hosts.values())
        if losing_only:
            hosts = [
                msgspec.structs.replace(host, state="returning") if host.state == "here" else host for host in hosts
            ]
        if hosts or self._changes or self._exits:
            yield wire.ApplyRemote(hosts=hosts, changes=self._changes, exits=self._exits)
        self.hosts, self._changes, self._exits, self._bytes = {}, [], [], 0
