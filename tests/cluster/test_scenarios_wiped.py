"""What hosts see when etcd loses all of its data: it starts anew with an empty folder, and its revisions repeat."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from adsum._client.cluster import change, joined
from tests.support.etcd import EtcdCluster
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts

WIPES = 6


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[EtcdCluster, Hosts]]:
    """An etcd and hosts of its own."""
    with EtcdCluster(folder) as etcd, Hosts(etcd.address("prod")) as hosts:
        yield etcd, hosts


def wipe(etcd: EtcdCluster) -> None:
    """Kill etcd, and start it with an empty folder."""
    (member,) = etcd.members
    member.kill()
    shutil.rmtree(member.folder)
    member.start()
    etcd.wait_until_healthy()


def has_fence(host: Host, etcd: EtcdCluster) -> bool:
    return bool(etcd.control("get", f"/adsum/prod/w/{host.name}", "--keys-only").strip())


def keys_of(etcd: EtcdCluster) -> set[str]:
    return set(etcd.control("get", "--prefix", "/adsum/prod/", "--keys-only").split())


def test_hosts_come_back_each_time_that_etcd_is_wiped(tmp_path: Path) -> None:
    """Fences repeat: each time one host is the first in the new etcd, and its key gets the revision that it had in the
    last one. Each time both hosts see all of each other again, the layout is written, and no member has ended."""
    with cluster(tmp_path) as (etcd, hosts):
        a, b = hosts.add("a"), hosts.add("b")
        a.registry.register("planner")
        b.registry.register("worker")
        b.sees(a, "planner")
        a.sees(b, "worker")
        fences: list[int] = []
        for number in range(WIPES):
            b.bridge.stop()
            wipe(etcd)
            eventually(lambda: has_fence(a, etcd), SOON)
            b.bridge.resume()
            status = a.bridge.wait_until_publishing()
            fences.append(status.fence)
            a.registry.register(f"new-{number}").published(SOON)
            b.sees(a, f"new-{number}")
            b.copies(a)
            a.copies(b)
            assert "/adsum/prod/v" in keys_of(etcd)
        assert len(set(fences)) < WIPES, "no fence was repeated"
        assert [one.how for host in (a, b) for one in host.registry.departures()] == []


def test_a_host_that_etcd_has_lost_is_unreachable_until_it_is_back_or_forgotten(tmp_path: Path) -> None:
    """Nothing says that its members have ended: they are forgotten after `forget_after` and not before. What ended
    there meanwhile has ended here when it is back, and no more."""
    with cluster(tmp_path) as (etcd, hosts):
        a, b, c = hosts.add("a"), hosts.add("b"), hosts.add("c", starts=False)
        present = joined(c.folder)
        assert present is not None
        change(c.folder, msgspec.structs.replace(present, forget_after=4.0))
        c.bridge.start()
        c.bridge.wait_until_publishing()
        c.registry.register("observer")
        for name in ("planner", "worker", "late"):
            a.registry.register(name)
        for host in (b, c):
            host.copies(a)
        a.bridge.stop()
        before = c.bridge.wait_until_publishing().loads
        wipe(etcd)
        eventually(lambda: c.bridge.wait_until_publishing().loads > before, SOON)
        assert [one.how for one in c.registry.departures()] == []
        assert c.registry.lookup(a.id("worker"), unreachable=True) is not None
        c.misses(a, "worker")
        a.registry.unregister("worker")
        a.bridge.resume()
        c.sees(a, "planner")
        c.copies(a)
        b.copies(a)
        assert [one.how for one in c.registry.departures()] == ["unknown"]
        a.bridge.kill()
        wipe(etcd)
        eventually(lambda: len(c.registry.departures()) == 3, SOON)
        assert {one.how for one in c.registry.departures(limit=2)} == {"unreachable_forgotten"}
