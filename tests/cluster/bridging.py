"""A bridge of a test's own: it says what other hosts have, without any of them."""

from __future__ import annotations

from collections.abc import Iterable

from adsum import Entry, Metadata, ProcessId, Registry
from adsum import _wire as wire
from adsum._store.hosts import boottime_ns
from adsum.model import EPOCH

BOOT = b"b" * 16
HOST = "host-b"


class Bridge:
    """Speaks for other hosts to one registry, and hears from the cluster for `ttl` seconds at a time."""

    def __init__(self, registry: Registry, ttl: float = 60.0) -> None:
        self._registry = registry
        self._ttl = ttl
        self.fence = 1
        self.tenure = b"tenure"
        self.say()
        self.hear()

    def hear(self, ago: float = 0.0) -> None:
        """The cluster was heard so many seconds ago."""
        board = self._registry._client.board
        board.attach()
        board.hosts.note_heard(boottime_ns() - int(ago * 1e9), int(self._ttl * 1e9))

    def say(self, hosts: Iterable[wire.RemoteHost] = (), changes: Iterable[wire.RemoteChange] = ()) -> bool:
        """One request. Whether it has changed anything."""
        request = wire.ApplyRemote(hosts=list(hosts), changes=list(changes))
        return self._registry._client.pool.ask(request, 10.0).changed

    def host(self, state: str = "here", *, host: str = HOST, boot_id: bytes = BOOT, how: str = "left") -> bool:
        """What a host is now."""
        return self.say(
            [
                wire.RemoteHost(
                    host,
                    state,  # type: ignore[arg-type]
                    boot_id if state in ("here", "returning") else b"",
                    self.fence,
                    frozenset({host}),
                    how,
                    tenure=self.tenure if state in ("here", "returning") else b"",
                )
            ]
        )

    def put(self, *entries: Entry, host: str = HOST) -> bool:
        return self.say(changes=[wire.RemoteChange(host, entry.process_id, entry) for entry in entries])

    def end(self, *entries: Entry, how: str = "died", exit: int | None = None) -> bool:
        return self.say(changes=[wire.RemoteChange(e.process_id.node, e.process_id, None, how, exit) for e in entries])


def remote(name: str, incarnation: int = 1, revision: int = 0, *, host: str = HOST, **fields: object) -> Entry:
    """The entry of a member as the registry of its host has it."""
    metadata = Metadata(**{"capabilities": frozenset({"remote"}), **fields})  # type: ignore[arg-type]
    id = ProcessId("default", host, name)
    return Entry(id, 4711, 1, 2, incarnation, EPOCH, EPOCH, revision or incarnation, metadata)
