"""The hosts that the benchmark of a cluster simulates go with the bridge as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.etcd import EtcdCluster

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "cluster_hosts.py"


def test_they_publish_what_they_are_asked_to(tmp_path: Path) -> None:
    """Each entry of each host is in etcd when the program says so; a bridge that fails is no endless wait."""
    with EtcdCluster(tmp_path) as etcd:
        words = [sys.executable, str(PROGRAM), etcd.address("simulated"), "5"]
        order = json.dumps({"do": "publish", "hosts": 2, "entries": 3}) + "\n"
        done = subprocess.run(words, input=order, capture_output=True, text=True, timeout=60, check=True)
        assert "seconds" in json.loads(done.stdout)
        keys = etcd.control("get", "/adsum/simulated/e/", "--prefix", "--keys-only").split()
        assert len(keys) == 6
