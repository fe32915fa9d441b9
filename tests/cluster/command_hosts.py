"""Hosts of a cluster on one machine: each a registry of its own, whose bridge is the real command."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adsum
from adsum import Kind, Registry, admin_cluster
from tests.cli.command import Answer, Command
from tests.support import Child, end_registrar, eventually

# For all that a bridge does, on a busy machine.
SOON = 30.0


class Host:
    """One host: `registry` has its node, `command` is `adsum` for it, `bridge` its bridge while one runs."""

    def __init__(self, base: Path, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.folder = base / name
        self.command = Command(self.folder)
        self.command.environment["ADSUM_NODE"] = name
        self.registry = self._opened()
        self._bridges: list[Child] = []

    def _opened(self) -> Registry:
        return adsum.open(path=self.folder, node=self.name, timeout=10)

    def reopen(self) -> None:
        """Open the registry again, which was closed."""
        self.registry = self._opened()

    @property
    def bridge(self) -> Child:
        """The one that was started last."""
        return self._bridges[-1]

    def adsum(self, *arguments: str) -> Answer:
        """Run a command for this host's registry."""
        return self.command(*arguments, "--path", str(self.folder))

    def document(self, *arguments: str) -> Any:
        return json.loads(self.adsum(*arguments, "--json").out)

    def begin_bridge(self, *options: str) -> Child:
        """Start ``adsum bridge`` in the foreground."""
        joining = ("--cluster", self.address, "--host", self.name)
        self._bridges.append(self.command.start("bridge", "--path", str(self.folder), *joining, *options))
        return self.bridge

    def start_bridge(self, *options: str) -> Child:
        """The same, and wait until it publishes."""
        self.begin_bridge(*options)
        eventually(self.publishes, SOON)
        return self.bridge

    def status(self) -> admin_cluster.BridgeStatus:
        found = admin_cluster.bridge_status(self.folder)
        assert found is not None
        return found

    def publishes(self) -> bool:
        """Whether the bridge that was started last vouches for the entries here."""
        found = admin_cluster.bridge_status(self.folder)
        return found is not None and found.pid == self.bridge.pid and not found.trouble and found.fence > 0

    def sees(self, host: Host, local_id: str) -> bool:
        """Whether a lookup here finds the member of another host."""
        return self.registry.lookup(("default", host.name, local_id)) is not None

    def knows(self, host: Host) -> bool:
        """Whether the other host is listed here, in whatever state."""
        return host.name in {one.name for one in self.registry.hosts()}

    def ends_of(self, host: Host) -> list[str]:
        """How the members of another host have ended, as the departures here say."""
        return [one.how for one in self.registry.departures() if one.entry.host == host.name]

    def events_of(self, host: Host, act: Callable[[], object]) -> list[str]:
        """The kinds of the events here about another host and its members, from before `act` until after it."""
        with self.registry.watch() as watch:
            act()
            marker = self.registry.register("marker")
            found: list[str] = []
            while True:
                event = watch.next(SOON)
                if event.entry == marker.entry and event.kind is Kind.registered:
                    marker.unregister()
                    return found
                if host.name in (event.host, event.entry and event.entry.host):
                    found.append(event.kind.value)

    def close(self) -> None:
        for bridge in self._bridges:
            bridge.close()
        self.registry.close()
        admin_cluster.stop_bridge(self.folder)
        end_registrar(self.folder)


@contextlib.contextmanager
def opened_hosts(base: Path, address: str, *names: str) -> Iterator[list[Host]]:
    """Hosts without bridges; all that they have started is ended."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in names:
            found.append(Host(base, name, address))
            stack.callback(found[-1].close)
        yield found
