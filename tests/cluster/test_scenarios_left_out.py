"""Members that the cluster does not take: they stay on their host, and `published` raises."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from adsum import ClusterUnavailable, ProcessId
from adsum.admin_cluster import bridge_status
from tests.support.etcd import EtcdCluster
from tests.support.waiting import eventually

from .host_processes import SOON, Hosts


def test_a_member_that_is_too_large_is_not_published_and_says_so(tmp_path: Path) -> None:
    """Others are published beside it; with less metadata it is published too."""
    with (
        EtcdCluster(tmp_path, options=["--max-request-bytes=20000"]) as etcd,
        Hosts(etcd.address("prod")) as hosts,
    ):
        a, b = hosts.add("a"), hosts.add("b")
        large = a.registry.register("large", custom={"data": "x" * 40_000})
        small = a.registry.register("small")
        with pytest.raises(ClusterUnavailable, match=r"large.* stays on this host: it is too large for etcd"):
            large.published(SOON)
        small.published(SOON)
        b.sees(a, "small")
        assert b.registry.lookup(a.id("large")) is None
        status = bridge_status(a.folder)
        assert status is not None
        assert status.too_large == [str(a.id("large"))]
        large.update(custom={"data": "x"})
        large.published(SOON)
        b.sees(a, "large")


def test_a_member_under_a_node_of_another_host_is_not_published_and_says_so(hosts: Hosts) -> None:
    """It was registered before its host knew of the other one, which keeps the node. Once that has left, the member is
    published."""
    a, b = hosts.add("a"), hosts.add("b")
    b.bridge.stop()
    mine = ProcessId("default", "shared", "mine")
    a.registry.register(mine).published(SOON)
    theirs = b.registry.register(ProcessId("default", "shared", "theirs"))
    b.bridge.resume()
    with pytest.raises(ClusterUnavailable, match=r"theirs stays on this host: its node belongs to another host"):
        theirs.published(SOON)
    eventually(lambda: b.registry.lookup(mine), SOON)
    assert a.registry.lookup(theirs.process_id) is None
    a.bridge.end(signal.SIGUSR1)

    def is_published() -> bool:
        with contextlib.suppress(ClusterUnavailable):
            theirs.published(SOON)
            return True
        return False

    eventually(is_published, SOON)
