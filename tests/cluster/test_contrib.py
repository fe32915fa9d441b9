"""The files in contrib for clusters: they are read, their commands are parsed, and the Compose file is played."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from adsum._etcd import versions
from adsum._etcd.address import parse
from adsum.cli.app import build
from tests.support import eventually
from tests.support.etcd import program

from .compose import services_in, shared

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "contrib" / "compose" / "compose.yml"
KUBERNETES = sorted((ROOT / "contrib" / "kubernetes").glob("*.yaml"))
SOON = 60.0
VARIABLES = re.compile(r"ADSUM_[A-Z_]+")


def documents(file: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one is not None]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """The pods of all manifests, by name."""
    return [
        (f"{file.name}:{one['metadata']['name']}", one["spec"]["template"]["spec"])
        for file in KUBERNETES
        for one in documents(file)
        if one["kind"] in ("Deployment", "StatefulSet")
    ]


def containers() -> list[tuple[str, list[str], dict[str, str]]]:
    """The name, command and environment of each container in contrib."""
    found = [
        (f"compose:{name}", service["command"], service.get("environment", {}))
        for name, service in services_in(COMPOSE).items()
    ]
    for pod, spec in pods():
        for one in [*spec.get("initContainers", []), *spec["containers"]]:
            environment = {variable["name"]: str(variable.get("value", "")) for variable in one.get("env", [])}
            found.append((f"{pod}:{one['name']}", one["command"], environment))
            hooks = [one.get("readinessProbe", {}).get("exec"), one.get("lifecycle", {}).get("preStop", {}).get("exec")]
            found += [
                (f"{pod}:{one['name']}:{hook['command'][-1]}", hook["command"], environment) for hook in hooks if hook
            ]
    return found


def parses(command: list[str]) -> None:
    """`adsum` takes this command line."""
    at = command.index("--") if "--" in command else len(command)
    build(command[1:])[command[1]].parse_args(command[2:at] + command[at:], exit_on_error=False, print_error=False)


@cache
def options_of_etcd() -> set[str]:
    said = subprocess.run([program(), "--help"], capture_output=True, text=True)
    return set(re.findall(r"--[a-z-]+", said.stdout + said.stderr))


@pytest.mark.parametrize(("name", "command", "environment"), containers(), ids=[one[0] for one in containers()])
def test_commands_and_variables_are_those_that_there_are(
    name: str, command: list[str], environment: dict[str, str]
) -> None:
    """`adsum` takes each command line, etcd knows each option, and adsum reads each variable."""
    if command[0] == "adsum":
        parses(command)
    elif command[0] == "etcd":
        given = {word.partition("=")[0] for word in command[1:]}
        assert given <= options_of_etcd()
        assert {"--auto-compaction-mode", "--auto-compaction-retention"} <= given
    else:
        assert command[:2] == ["python", "/agent.py"]
    source = "".join(path.read_text() for path in (ROOT / "src" / "adsum").rglob("*.py"))
    for variable in environment:
        assert variable == "POD_NAME" or f'"{variable}"' in source, variable
    if address := environment.get("ADSUM_CLUSTER"):
        assert parse(address, {}).members


@pytest.mark.parametrize(("name", "spec"), pods(), ids=[one[0] for one in pods()])
def test_the_containers_of_a_pod_share_what_they_must(name: str, spec: dict[str, Any]) -> None:
    """Each mount is of a volume that there is; a sidecar has the processes, user and registry of its program."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    everything = [*spec.get("initContainers", []), *spec["containers"]]
    for one in everything:
        assert {mount["name"] for mount in one.get("volumeMounts", [])} <= volumes.keys()
    if len(everything) > 1:
        assert spec["shareProcessNamespace"] is True
        assert spec["securityContext"]["runAsUser"]
        folders = {
            next(variable["value"] for variable in one["env"] if variable["name"] == "ADSUM_DIR") for one in everything
        }
        (folder,) = folders
        for one in everything:
            (mount,) = one["volumeMounts"]
            assert mount["mountPath"] == folder
            assert volumes[mount["name"]]["emptyDir"]["medium"] == "Memory"
        assert all(one.get("restartPolicy") == "Always" for one in spec["initContainers"])


def test_addresses_name_members_that_there_are() -> None:
    """The address of the agents names the pods of the trial's etcd, and so does each member's own list."""
    (state,) = [one for file in KUBERNETES for one in documents(file) if one["kind"] == "StatefulSet"]
    (service,) = [one for file in KUBERNETES for one in documents(file) if one["kind"] == "Service"]
    assert state["spec"]["serviceName"] == service["metadata"]["name"]
    names = [f"etcd-{number}.{service['metadata']['name']}" for number in range(state["spec"]["replicas"])]
    for pod, _, environment in containers():
        if not pod.startswith("compose") and (address := environment.get("ADSUM_CLUSTER")):
            assert [member.host for member in parse(address, {}).members] == names
    command = state["spec"]["template"]["spec"]["containers"][0]["command"]
    (initial,) = [word for word in command if word.startswith("--initial-cluster=")]
    assert re.findall(r"http://([\w.-]+):2380", initial) == names


def test_images_of_etcd_are_of_an_advised_version() -> None:
    """No file runs an etcd that `adsum bridge --check` would warn of."""
    text = COMPOSE.read_text() + "".join(file.read_text() for file in KUBERNETES)
    found = re.findall(r"etcd:v([\d.]+)", text)
    assert len(found) == 2
    assert [versions.judge(version).level for version in found] == ["ok", "ok"]


def test_the_unit_runs_a_command_that_there_is() -> None:
    """The unit of systemd is of the kind that the bridge reports to, and starts it with options that it has."""
    unit = (ROOT / "contrib" / "systemd" / "adsum-bridge.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+/(adsum .+)$", unit, re.MULTILINE)
    parses(command.split())
    assert re.search(r"^Type=notify$", unit, re.MULTILINE)
    assert re.search(r"^WatchdogSec=", unit, re.MULTILINE)
    for variable in VARIABLES.findall(unit):
        assert f'"{variable}"' in "".join(path.read_text() for path in (ROOT / "src" / "adsum").rglob("*.py")), variable


# Played

NEEDED = ("unshare", "nsenter", "ip", "mount", "hostname")
OUTER = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]


class Containers:
    """The Compose file, while it is played in another process."""

    def __init__(self, folder: Path) -> None:
        command = [*OUTER, sys.executable, "-m", "tests.cluster.compose", str(COMPOSE), str(program()), str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        assert self._answer() == "started"

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the player has ended"
        return json.loads(line)

    def ask(self, *words: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def members(self, service: str) -> set[str]:
        """The members that `adsum ls` lists in a container."""
        said = self.ask("execute", service, "adsum", "ls", "--json")
        return {entry["process_id"]["local_id"] for entry in json.loads(said)} if said else set()

    def hosts(self, service: str) -> dict[str, str]:
        said = self.ask("execute", service, "adsum", "hosts", "--json")
        return {host["name"]: host["reach"] for host in json.loads(said)["hosts"]} if said else {}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def played(shared_memory: Path) -> Iterator[Containers]:
    if os.geteuid() or not all(map(shutil.which, NEEDED)):
        pytest.skip("playing containers needs root, util-linux and iproute2")
    tried = subprocess.run([*OUTER, "ip", "link", "add", "name", "br0", "type", "bridge"], capture_output=True)
    if tried.returncode:
        pytest.skip(f"no namespaces, or no bridge in them: {tried.stderr.decode().strip()}")
    containers = Containers(shared_memory)
    try:
        yield containers
    except BaseException:
        print(containers.ask("logs"))
        raise
    finally:
        containers.close()


def test_the_compose_file_makes_one_registry(played: Containers) -> None:
    """In network and PID namespaces of their own, a container with its own bridge and one with a sidecar find each
    other by the names of the file; a container that is killed is unreachable for the other, not dead."""
    team = {"planner", "worker"}
    eventually(lambda: played.members("planner") == team, SOON, every=0.5)
    eventually(lambda: played.members("worker") == team, SOON, every=0.5)
    assert played.hosts("planner") == {"planner": "here", "worker": "remote"}
    assert played.hosts("worker-bridge") == {"worker": "here", "planner": "remote"}
    played.ask("kill", "worker")
    eventually(lambda: played.members("planner") == {"planner"}, SOON, every=0.5)
    assert played.hosts("planner")["worker"] == "unreachable"
    assert json.loads(played.ask("execute", "planner", "adsum", "departures", "--json")) == []


def test_every_service_of_the_file_is_played() -> None:
    """The player refuses keys that it does not play, so nothing of the file is left untried."""
    services = services_in(COMPOSE)
    assert shared(services["worker-bridge"]) == "worker"
    assert {name for name, service in services.items() if not shared(service)} == {"etcd", "planner", "worker"}
