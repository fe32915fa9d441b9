"""The etcd of the demo: its ports, and what happens when a member cannot start."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from adsum_demo.cluster.etcd import Etcd, NoEtcd, find_program, free_ports


def test_no_outgoing_connection_gets_one_of_the_ports() -> None:
    """They are different, free, and below those that the kernel gives away itself."""
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with socket.create_server(("127.0.0.1", 0)):
        ports = free_ports("127.0.0.1", 200)
    assert len(set(ports)) == 200
    assert all(1024 <= port < lowest_outgoing for port in ports)


def test_an_address_of_another_machine_is_no_endless_search() -> None:
    """The error of the kernel comes through."""
    with pytest.raises(OSError, match="assign requested address"):
        free_ports("192.0.2.1", 1)


def test_a_member_that_cannot_start_is_reported_at_once(tmp_path: Path) -> None:
    """Another process has taken its port meanwhile; what etcd said is in the error, and no member is left."""
    etcd = Etcd(find_program(), tmp_path / "etcd", "127.0.0.1")
    taken = socket.create_server(("127.0.0.1", int(etcd.members[1].peer.rpartition(":")[2])))
    began = time.monotonic()
    with taken, pytest.raises(NoEtcd, match=r"m2: has ended, and said: .*address already in use"), etcd:
        raise AssertionError("it serves")
    assert time.monotonic() - began < 30
    assert [member.pid for member in etcd.members] == [None, None, None]
