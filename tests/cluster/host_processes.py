"""Hosts of a cluster on one machine: each has a folder, a registrar and a bridge of its own.

with Hosts(etcd.address("prod")) as hosts:
    a, b = hosts.add("a"), hosts.add("b")        # with bridges that nothing but the test starts and ends
    a.registry.register("planner")               # a member: this process
    with a.agent() as agent: ...                 # a member process
    b.sees(a, "planner")                         # waits until a reader at b finds it
    a.bridge.kill(); a.bridge.start()
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import adsum
from adsum import Entry, Limits, ProcessId, Registry
from adsum._client.bridge_keeper import BridgeKeeper
from adsum._client.bridge_status import BridgeStatus, status_in
from adsum._client.cluster import JoinedCluster, join, running_bridge
from adsum._client.launch import Launch
from tests.support.children import Agent
from tests.support.processes import state_of
from tests.support.registrars import end_registrar
from tests.support.waiting import eventually

# A step of a cluster takes milliseconds; on a machine that is busy with other tests, seconds.
SOON = 30.0
TTL = 3.0


class BridgeProcess:
    """The bridge of a folder, found by its lock and ended by a pidfd: the test or a client has started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def pid(self) -> int:
        """That of the bridge that runs. `AssertionError` where none does."""
        pid = running_bridge(self._folder)
        assert pid, f"no bridge serves {self._folder}"
        return pid

    def status(self) -> BridgeStatus | None:
        """What the present bridge says about itself."""
        status = status_in(self._folder)
        return status if status is not None and status.pid == running_bridge(self._folder) else None

    def start(self) -> None:
        """Start one, and wait until it holds the folder."""
        BridgeKeeper(self._folder, Launch(Limits(), None))._start_bridge()
        eventually(lambda: running_bridge(self._folder), SOON)

    def wait_until_publishing(self, *, not_pid: int = 0) -> BridgeStatus:
        """Wait until it has a fence and has loaded the other hosts; with `not_pid`, until another bridge has."""

        def publishes() -> BridgeStatus | None:
            status = self.status()
            is_ready = status is not None and status.fence and status.loads and status.pid != not_pid
            return status if is_ready else None

        found = eventually(publishes, SOON)
        assert found is not None
        return found

    def kill(self) -> None:
        """SIGKILL, and wait for its end. Not an error where none runs."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal, also where it is stopped, and wait for its end."""
        with self._pidfd() as pidfd:
            if pidfd is None:
                return
            with contextlib.suppress(ProcessLookupError):
                # After the first it may be gone.
                signal.pidfd_send_signal(pidfd, number)
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            assert poll.poll(SOON * 1000), f"the bridge of {self._folder} did not end on {number.name}"

    def stop(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        os.kill(pid := self.pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid) == "T")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "bridge.log").read_text(errors="replace")
        return ""

    @contextlib.contextmanager
    def _pidfd(self) -> Iterator[int | None]:
        """Proven to be the bridge's: it held the lock before and after."""
        while pid := running_bridge(self._folder):
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if running_bridge(self._folder) == pid:
                    yield pidfd
                    return
            finally:
                os.close(pidfd)
        yield None


class Host:
    """One host. `registry` is open in the test's process."""

    def __init__(self, base: Path, address: str, name: str, ttl: float, limits: Limits | None) -> None:
        self.name = name
        self.address = address
        self.ttl = ttl
        self.folder = base / name
        self.limits = limits
        join(self.folder, JoinedCluster(address, name, ttl))
        self.bridge = BridgeProcess(self.folder)
        self.registry: Registry = self.open()

    def open(self, **options: Any) -> Registry:
        """Open the registry once more; nothing keeps its bridge running."""
        return adsum.open(
            **{"path": self.folder, "node": self.name, "cluster": "", "timeout": 10, "limits": self.limits, **options}
        )

    def agent(self, **options: Any) -> Agent:
        """A process with the registry open; nothing keeps its bridge running."""
        return Agent(self.folder, node=self.name, **{"cluster": "", **options})

    def keeping_agent(self) -> Agent:
        """A process with the registry open as a program opens it, which keeps the bridge running."""
        env = {"ADSUM_HOST": self.name, "ADSUM_CLUSTER_TTL": str(self.ttl)}
        return Agent(self.folder, node=self.name, cluster=self.address, env=env)

    def id(self, name: str) -> ProcessId:
        """The id of a member of this host."""
        return ProcessId("default", self.name, name)

    def sees(self, other: Host, name: str, within: float = SOON) -> Entry:
        """Wait until a reader here finds a member of the other host."""
        entry = eventually(lambda: self.registry.lookup(other.id(name)), within)
        assert entry is not None
        return entry

    def misses(self, other: Host, name: str, within: float = SOON) -> None:
        """Wait until a reader here does not find that member any more."""
        eventually(lambda: self.registry.lookup(other.id(name)) is None, within)

    def members(self) -> dict[ProcessId, tuple[int, int, object]]:
        """The truth of this host: its own members, with incarnation, revision and metadata."""
        found = self.registry.find(hosts="here", namespace=adsum.ALL)
        return {one.process_id: (one.incarnation, one.revision, one.metadata) for one in found}

    def copied(self, other: Host) -> dict[ProcessId, tuple[int, int, object]]:
        """The members of the other host as a reader here finds them, with their numbers of there."""
        found = [one for one in self.registry.find(namespace=adsum.ALL) if one.host == other.name]
        return {
            one.process_id: (one.origin.incarnation, one.origin.revision, one.metadata)
            for one in found
            if one.origin is not None
        }

    def copies(self, other: Host, within: float = SOON) -> None:
        """Wait until readers here find exactly the members of the other host."""
        eventually(lambda: self.copied(other) == other.members(), within)

    def close(self) -> None:
        self.registry.close()
        self.bridge.kill()
        end_registrar(self.folder)


class Hosts:
    """The hosts of one cluster, ended with the ``with`` block in every case."""

    def __init__(self, address: str, ttl: float = TTL) -> None:
        self.address = address
        self._ttl = ttl
        self._base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
        self._hosts: list[Host] = []

    def add(
        self,
        name: str,
        *,
        starts: bool = True,
        limits: Limits | None = None,
        folder: str = "",
        address: str = "",
        ttl: float = 0.0,
    ) -> Host:
        """A new host. Its bridge publishes when this returns, unless it is not to be started."""
        base = self._base / folder if folder else self._base
        base.mkdir(exist_ok=True)
        host = Host(base, address or self.address, name, ttl or self._ttl, limits)
        self._hosts.append(host)
        if starts:
            host.bridge.start()
            host.bridge.wait_until_publishing()
        return host

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        for host in self._hosts:
            # pytest shows it where the test failed.
            print(f"--- bridge of {host.name}:\n{host.bridge.log()}")
            host.close()
        shutil.rmtree(self._base)
