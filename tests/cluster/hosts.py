"""Hosts on one machine: each is a registry in a folder of its own, with its own bridge."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from adsum._client.cluster import forget, running_bridge

from ..support import WITHIN, end_registrar, eventually


class Hosts:
    """Makes the hosts of one cluster, which are ended at the end of the test."""

    def __init__(self, base: Path, address: str, ttl: float = 3.0) -> None:
        self.base = base
        self.address = address
        self.ttl = ttl
        self._opened: list[Registry] = []

    def open(self, name: str) -> Registry:
        """A registry that has joined under this name; its node has the same name."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ADSUM_HOST", name)
            patch.setenv("ADSUM_CLUSTER_TTL", str(self.ttl))
            registry = adsum.open(path=self.base / name, node=name, timeout=10, cluster=self.address)
        self._opened.append(registry)
        # The registry has to be there before a reader can wait for its bridge.
        registry.get_or_register(("tests", name, "anchor"))
        eventually(lambda: (known := registry.stats().cluster) is not None and known.connected, WITHIN)
        return registry

    def bridge(self, name: str) -> int:
        """The pid of the bridge of a host."""
        pid = eventually(lambda: running_bridge(self.base / name), WITHIN)
        assert pid is not None
        return pid

    def signal_bridge(self, name: str, number: signal.Signals) -> int:
        pid = self.bridge(name)
        os.kill(pid, number)
        return pid

    def close(self) -> None:
        for file in self.base.glob("*/cluster"):
            # No client starts a bridge from now on.
            forget(file.parent)
        for registry in self._opened:
            registry.close()
        for folder in self.base.iterdir():
            if (pid := running_bridge(folder)) is not None:
                pidfd = os.pidfd_open(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGTERM)
                assert select.select([pidfd], [], [], WITHIN)[0]
                os.close(pidfd)
            end_registrar(folder)


@contextlib.contextmanager
def hosts(base: Path, address: str, ttl: float = 3.0) -> Iterator[Hosts]:
    made = Hosts(base, address, ttl)
    try:
        yield made
    finally:
        made.close()
