"""What does a registry of many hosts cost, and how soon does each of them know? ``cluster.py [--quick] [name ...]``

An etcd of three members on loopback, with its data in memory, and hosts that share this machine: real registries with
their registrars and bridges, and simulated hosts that only publish (see `cluster_hosts`). What others do in the same
run is beside it (see `cluster_peers`). Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cluster_parts
import cluster_peers
from adsum_demo.cluster.etcd import Etcd, find_program
from harness import Row, save, show

Part = Callable[[Path, Etcd, cluster_parts.Sizes], list[Row]]
PARTS: dict[str, tuple[str, Part]] = {
    "kills": ("From SIGKILL of a process until no lookup finds it", cluster_parts.kill_to_gone),
    "many": ("Many hosts, and a mirror of all", cluster_parts.many_entries),
    "load": ("Changes from many hosts, at one that mirrors them", cluster_parts.under_load),
    "restarts": ("A bridge is killed, and the next one goes on", cluster_parts.restarts),
    "losses": ("A host is lost, and comes back", cluster_parts.losses),
    "outage": ("etcd stops for a while", cluster_parts.outage),
    "peers": ("From SIGKILL until others know, elsewhere", cluster_peers.peers),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *PARTS], help="which parts; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmark; nothing is kept")
    arguments = parser.parse_args()
    sizes = cluster_parts.QUICK if arguments.quick else cluster_parts.Sizes()
    results: dict[str, object] = {}
    etcd_version = ""
    for name in arguments.names or PARTS:
        title, part = PARTS[name]
        base = Path(tempfile.mkdtemp(prefix="adsum-bench-", dir="/dev/shm"))
        try:
            # Each part has an etcd of its own, so that none suffers from what the one before left.
            with Etcd(find_program(), base / "etcd", "127.0.0.1") as etcd:
                etcd_version = etcd.version
                rows = part(base, etcd, sizes)
        finally:
            shutil.rmtree(base, ignore_errors=True)
        show(title, rows)
        results[name] = rows
    if not arguments.quick and not arguments.names:
        save("cluster", {"versions": _versions(etcd_version), **results, "argv": sys.argv[1:]})


def _versions(etcd: str) -> Row:
    return {"etcd": etcd, "grpcio": version("grpcio"), "protobuf": version("protobuf")}


if __name__ == "__main__":
    main()
