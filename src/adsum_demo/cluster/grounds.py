"""Where the hosts are: each in namespaces of its own, with an address on a bridge; or each in a folder.

The bridge is in a network namespace of the conductor's, without a way out. So no address can be in use already, no
interface of the machine is touched, and the kernel removes everything with the last process (namespaces(7)).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import Protocol

from ..coordinator import DemoFailed
from .processes import below

_BRIDGE = "br0"
_NETWORK = "10.77.0."
_IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
_UNSHARE = ["--net", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
_SECONDS = 10.0


def command() -> list[str] | None:
    """The command that runs the conductor in namespaces of its own; None where they are not to be had."""
    unshare = shutil.which("unshare")
    if unshare is None or _IP is None:
        return None
    for user in ([], ["--user", "--map-root-user"]):
        prefix = [unshare, *user, *_UNSHARE]
        # A bridge, and a cable into a namespace within: all that the hosts need.
        trial = (
            f"{_IP} link add name a type bridge && {_IP} link add name b type veth peer name c && {unshare} --net true"
        )
        if not subprocess.run([*prefix, "sh", "-c", trial], capture_output=True, check=False).returncode:
            return prefix
    return None


class Ground(Protocol):
    """Where the hosts are. `etcd_ip` is where etcd is."""

    has_namespaces: bool
    etcd_ip: str

    def ip(self, number: int) -> str:
        """The address of a host."""

    def prefix(self) -> list[str]:
        """The command that runs a host."""

    def first_process(self, pid: int) -> int:
        """The host's first process, where `pid` is that of the command."""

    def connect(self, number: int, pid: int) -> None:
        """Connect a host with this first process to the others."""


class Namespaces:
    """Hosts with a network, processes and a host name of their own. The conductor must be in such namespaces itself."""

    has_namespaces = True
    etcd_ip = f"{_NETWORK}1"

    def __init__(self) -> None:
        _run("link", "set", "lo", "up")
        _run("link", "add", _BRIDGE, "type", "bridge")
        _run("addr", "add", f"{self.etcd_ip}/24", "dev", _BRIDGE)
        _run("link", "set", _BRIDGE, "up")
        self._cables = 0

    def ip(self, number: int) -> str:
        return f"{_NETWORK}{number + 11}"

    def prefix(self) -> list[str]:
        """The command that runs a host."""
        return ["unshare", *_UNSHARE]

    def first_process(self, pid: int) -> int:
        """The host's process 1, where `pid` is that of the command."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            if found := below(pid):
                return found[0]
            time.sleep(0.01)
        raise DemoFailed("a host did not start")

    def connect(self, number: int, pid: int) -> None:
        """Lay a cable from the bridge to the host with this process 1. The hardware address stays: other hosts
        remember it over a restart."""
        self._cables += 1
        cable, mac = f"cable{self._cables}", f"02:00:00:00:00:{number + 11:02x}"
        _run("link", "add", cable, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", str(pid))
        _run("link", "set", cable, "master", _BRIDGE, "up")


class Folders:
    """Hosts that are folders of this machine."""

    has_namespaces = False
    etcd_ip = "127.0.0.1"

    def ip(self, number: int) -> str:
        return self.etcd_ip

    def prefix(self) -> list[str]:
        return []

    def first_process(self, pid: int) -> int:
        return pid

    def connect(self, number: int, pid: int) -> None:
        """There is nothing to connect."""


def set_up_host(name: str, ip: str) -> None:
    """In a host's namespaces: its name and its end of the cable."""
    socket.sethostname(name)
    _run("link", "set", "lo", "up")
    _run("addr", "add", f"{ip}/24", "dev", "eth0")
    _run("link", "set", "eth0", "up")


def _run(*words: str) -> None:
    done = subprocess.run([_IP or "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"ip {' '.join(words)}: {done.stderr.strip()}")
