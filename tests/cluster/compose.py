"""Plays a Compose file without Docker: each service is a process in namespaces of its own, as its container would be.

A service has a network with an address that the others know by the service's name, processes, a host name, a
``/dev/shm`` and its volumes. One with ``pid: service:NAME`` and ``network_mode: service:NAME`` has those of another.
The programs are those of this machine. Only root can play: everything is inside a network namespace and a PID namespace
of the player, so the kernel removes it with the player's first process (namespaces(7)).

    unshare --net --pid --mount --fork --kill-child --mount-proc python -m tests.cluster.compose FILE ETCD FOLDER
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.waiting import eventually

NETWORK = "10.78.0."
# All that the player plays; a file with anything else would not be played as it is.
KNOWN = {
    *("image", "build", "hostname", "init", "command", "environment", "depends_on", "volumes"),
    *("pid", "network_mode"),
}
SOON = 60.0


def services_in(file: Path) -> dict[str, dict[str, Any]]:
    """The services of a Compose file. `AssertionError` for a key that is not played."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["services"]
    for name, service in services.items():
        assert service.keys() <= KNOWN, (name, service.keys() - KNOWN)
    return services


def shared(service: Mapping[str, Any]) -> str:
    """The service whose processes and network this one shares; empty where it has its own."""
    owners = {service.get(key, "").removeprefix("service:") for key in ("pid", "network_mode")}
    assert len(owners) == 1, "a sidecar shares processes and network with the same service"
    return str(owners.pop())


class Player:
    """The containers of one Compose file, while this process lives."""

    def __init__(self, file: Path, etcd: str, folder: Path) -> None:
        self.services = services_in(file)
        self._etcd = etcd
        self._base = folder
        self._hosts = self._base / "hosts"
        own = [name for name, service in self.services.items() if not shared(service)]
        self._addresses = {name: f"{NETWORK}{number}" for number, name in enumerate(own, 2)}
        lines = [f"{address} {name}" for name, address in self._addresses.items()]
        self._hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        self._first: dict[str, int] = {}
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", f"{NETWORK}1/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")

    def start(self, name: str) -> None:
        """Start a service whose dependencies run."""
        service = self.services[name]
        owner = shared(service)
        inner = [sys.executable, "-m", "tests.cluster.compose", "--inside", json.dumps(self._inside(name))]
        if owner:
            enter = ["nsenter", "--target", str(self._first[owner]), "--pid", "--net", "--uts"]
            command = [*enter, "unshare", "--mount", "--fork", "--kill-child", *inner]
        else:
            namespaces = ["--net", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc"]
            command = ["unshare", *namespaces, *inner]
        log = (self._base / f"{name}.log").open("wb")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        first = eventually(lambda: child_of(process.pid), SOON)
        assert first is not None
        self._first[name] = first
        if not owner:
            self._connect(name, first)
        assert process.stdin is not None
        # It waits for its network.
        process.stdin.write("go\n")
        process.stdin.flush()

    def _inside(self, name: str) -> dict[str, Any]:
        service = self.services[name]
        volumes = [volume.split(":") for volume in service.get("volumes", [])]
        for volume, _ in volumes:
            (self._base / "volumes" / volume).mkdir(parents=True, exist_ok=True)
        return {
            "hostname": service.get("hostname", ""),
            "address": self._addresses.get(name, ""),
            "hosts": str(self._hosts),
            "volumes": [(str(self._base / "volumes" / volume), target) for volume, target in volumes],
            "environment": service.get("environment", {}),
            "command": [self._program(word) for word in service["command"]],
        }

    def _program(self, word: str) -> str:
        """A word of a command as this machine knows it."""
        here = {
            "etcd": self._etcd,
            "adsum": str(Path(sys.executable).with_name("adsum")),
            "python": sys.executable,
            "/agent.py": str(Path("contrib/compose/agent.py").resolve()),
        }
        return here.get(word, word)

    def _connect(self, name: str, first: int) -> None:
        cable = f"c{len(self._first)}"
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(first))
        run("ip", "link", "set", cable, "master", "br0", "up")

    def execute(self, name: str, *words: str) -> str:
        """What a command prints inside a container, as with ``docker compose exec``."""
        enter = ["nsenter", "--target", str(self._first[name]), "--mount", "--pid", "--net", "--uts"]
        environment = {**os.environ, **self.services[name].get("environment", {})}
        done = subprocess.run(
            [*enter, *map(self._program, words)], capture_output=True, text=True, env=environment, timeout=SOON
        )
        return done.stdout

    def kill(self, name: str) -> None:
        """SIGKILL for the first process of a container, and so for all."""
        os.kill(self._first[name], 9)

    def logs(self) -> str:
        return "\n".join(f"--- {log.stem}\n{log.read_text(errors='replace')}" for log in self._base.glob("*.log"))


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def child_of(pid: int) -> int | None:
    """The child of a process that forks once."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not found:
        return None
    # nsenter forks too, and unshare below it.
    return child_of(int(found[0])) or int(found[0]) if is_wrapper(int(found[0])) else int(found[0])


def is_wrapper(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() in ("nsenter", "unshare")


def inside(plan: dict[str, Any]) -> None:
    """In the namespaces of a service: become its program."""
    sys.stdin.readline()
    if plan["address"]:
        run("hostname", plan["hostname"])
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{plan['address']}/24", "dev", "eth0")
        run("ip", "link", "set", "eth0", "up")
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", plan["hosts"], "/etc/hosts")
    # The sources of volumes are below the /dev/shm that is hidden last.
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for source, target in plan["volumes"]:
        place = target if target.startswith("/run/") else f"/run{target}"
        Path(place).mkdir(parents=True)
        run("mount", "--bind", source, place)
    run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    run("mount", "-t", "proc", "proc", "/proc")
    data = {f"--data-dir={target}": f"--data-dir=/run{target}" for _, target in plan["volumes"]}
    command = [str(data.get(word, word)) for word in plan["command"]]
    os.execvpe(command[0], command, {**os.environ, **plan["environment"]})


def play(file: Path, etcd: str, folder: Path) -> None:
    """Start all services, in an order that their dependencies allow, and take commands as lines of JSON."""
    player = Player(file, etcd, folder)
    waiting = dict(player.services)
    while waiting:
        ready = [name for name, one in waiting.items() if not set(one.get("depends_on", [])) & waiting.keys()]
        for name in ready:
            player.start(name)
            del waiting[name]
    print(json.dumps("started"), flush=True)
    for line in sys.stdin:
        action, *words = json.loads(line)
        answer = getattr(player, action)(*words)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(json.loads(sys.argv[2]))
    else:
        play(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
