"""The commands on the pages about operating a cluster work: they are typed into a shell, with a real etcd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import blocks
from tests.support.etcd import EtcdCluster, packaged

from .command_hosts import Host

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def commands(page: str) -> list[str]:
    """The blocks of a page that are typed into a shell."""
    return [block.text for block in blocks(PAGES / page) if block.language == "sh"]


class Shell:
    """A shell in which `etcdctl` speaks to an etcd, and `adsum` to a registry."""

    def __init__(self, etcd: EtcdCluster, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        endpoints = ",".join(f"http://127.0.0.1:{member.port}" for member in etcd.members)
        self._write("etcdctl", f'exec {packaged("etcdctl")} --endpoints={endpoints} "$@"')
        self._write("adsum", f'exec {sys.executable} -m adsum.cli "$@"')
        self._environment = {
            **os.environ,
            **environment,
            "ETCDCTL_API": "3",
            "PATH": f"{folder}:{os.environ['PATH']}",
        }

    def _write(self, name: str, line: str) -> None:
        program = self._folder / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o700)

    def type(self, text: str) -> str:
        """What the commands print. `AssertionError` where one of them fails."""
        command = ["bash", "-e", "-o", "pipefail", "-c", text]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_the_commands_to_look_at_a_cluster_work(host: Host, etcd: EtcdCluster, tmp_path: Path) -> None:
    """`hosts`, `bridge --status` and `doctor` end with 0 for a host that is well."""
    environment = {**host.command.environment, "ADSUM_DIR": str(host.folder.parent)}
    look = commands("cluster-operating.md")[0]
    named = look.replace("\n", f" --name {host.name}\n")
    said = Shell(etcd, tmp_path, environment).type(named)
    assert host.name in said
    assert "observer" in said
    assert "etcd majority" in said


def test_the_commands_for_a_full_etcd_make_room(tmp_path: Path) -> None:
    """After them the alarm is cleared, and etcd takes a write again."""
    with EtcdCluster(tmp_path, options=["--quota-backend-bytes=1048576"]) as etcd:
        shell = Shell(etcd, tmp_path, {})
        with pytest.raises(RuntimeError, match="space"):
            _fill(etcd)
        assert "NOSPACE" in etcd.control("alarm", "list")
        shell.type(commands("cluster-operating.md")[1])
        assert etcd.control("alarm", "list") == ""
        assert etcd.control("put", "/k", "again") == "OK\n"


def _fill(etcd: EtcdCluster) -> None:
    """Write until etcd takes no more."""
    for number in range(100):
        etcd.control("put", "/k", f"{number}" + "x" * 100_000)
