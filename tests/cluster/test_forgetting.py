"""A host that could not be reached for long is forgotten, by a bridge of another one, and only while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from adsum._bridge.etcd_reader import EtcdReader
from adsum._bridge.forgetter import Forgetter
from adsum._bridge.keys import Keys
from adsum._bridge.records import HostRecord, encode
from adsum._bridge.remote_hosts import RawChange, RemoteHosts
from adsum._bridge.tenure import HostTenure
from adsum._etcd.client import EtcdClient
from adsum._etcd.records import Compare, Put
from tests.support import eventually
from tests.support.etcd import EtcdCluster

from .command_hosts import SOON, Host, opened_hosts

FORGET_AFTER = "2"


@pytest.fixture
def three(etcd: EtcdCluster, shared_memory: Path) -> Iterator[list[Host]]:
    """Three hosts of a cluster, which forget soon; the first has a member, `worker`, which both others see."""
    with opened_hosts(shared_memory, etcd.address("three"), "a", "b", "c") as found:
        first, *others = found
        first.registry.register("worker")
        for host in found:
            host.begin_bridge("--ttl", "2", "--forget-after", FORGET_AFTER)
        for host in others:
            eventually(lambda host=host: host.sees(first, "worker"), SOON)  # type: ignore[misc]
        yield found


def test_a_host_that_stays_away_is_forgotten(three: list[Host], etcd: EtcdCluster) -> None:
    """Its entries end at all other hosts as `unreachable_forgotten`, and nothing of it stays in etcd. When it comes
    back later, all others have its members again."""
    first, *others = three
    with others[0].registry.watch() as watch:
        first.bridge.kill()
        event = watch.next(SOON)
        while event.host != "a" or event.kind == "whole":
            # Members are found a moment before the event that all of them are there.
            event = watch.next(SOON)
        assert event.kind == "unreachable"
        for host in others:
            eventually(lambda host=host: not host.knows(first), SOON)  # type: ignore[misc]
            assert host.ends_of(first) == ["unreachable_forgotten"]
            assert host.registry.lookup(("default", "a", "worker"), unreachable=True) is None
    for host in others:
        host.bridge.kill()
    left = "/adsum/three/e/a/"
    assert etcd.control("get", "--prefix", left, "--keys-only") == ""
    # The word about its end goes with the lease of the bridge that wrote it.
    eventually(lambda: etcd.control("get", "/adsum/three/d/a", "--keys-only") == "", SOON, every=0.5)
    for host in (first, others[0]):
        host.start_bridge("--ttl", "2")
    eventually(lambda: others[0].sees(first, "worker"), SOON)


class FakeReader:
    """The part of a mirror that forgetting reads: what it has seen, and up to which revision."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.remote_hosts = RemoteHosts(keys, "own")
        self.revision = 0

    def see(self, host: str, here: bool, revision: int) -> None:
        value = encode(HostRecord(b"boot", b"place", b"nonce", 2.0, "1")) if here else None
        for _ in self.remote_hosts.apply([[RawChange(self._keys.host(host), value, revision)]]):
            pass
        self.revision = revision


async def forgetter(client: EtcdClient, name: str, seconds: float) -> tuple[Forgetter, FakeReader, Keys]:
    """One that acts for a host `own`, which is in etcd."""
    keys = Keys(name)
    fence = await client.put(keys.host("own"), b"")
    lease = await client.grant(60)
    guard = Compare(keys.host("own"), "mod_revision", "==", fence)
    tenure = SimpleNamespace(host="own", lease=lease.id, guard=lambda: guard)
    reader = FakeReader(keys)
    return Forgetter(client, keys, cast(EtcdReader, reader), cast(HostTenure, tenure), seconds), reader, keys


async def test_a_host_that_is_back_loses_nothing(client: EtcdClient) -> None:
    """A bridge that has not heard yet that the host is back deletes nothing: etcd compares."""
    one, _, keys = await forgetter(client, "back", 0.0)
    await client.transaction([], [Put(keys.entry("a", b"k"), b"entry"), Put(keys.host("a"), b"")])
    await one._forget("a")
    assert (await client.range(keys.entries("a"), prefix=True)).count == 1
    await client.delete_range(keys.host("a"))
    await one._forget("a")
    assert (await client.range(keys.entries("a"), prefix=True)).count == 0


async def test_a_bridge_that_was_followed_forgets_no_host(client: EtcdClient) -> None:
    """Under a fence that is not the newest, nothing is deleted."""
    one, _, keys = await forgetter(client, "followed", 0.0)
    await client.put(keys.entry("a", b"k"), b"entry")
    await client.put(keys.host("own"), b"another bridge")
    await one._forget("a")
    assert (await client.range(keys.entries("a"), prefix=True)).count == 1


async def test_the_time_begins_anew_when_a_host_was_back(client: EtcdClient) -> None:
    """It counts from the last loss, however short the host was back."""
    one, reader, _ = await forgetter(client, "anew", 0.0)
    reader.see("a", here=True, revision=5)
    assert one._due() == []
    reader.see("a", here=False, revision=6)
    assert one._due() == [("a", 1)]
    one.seconds = 600.0
    assert one._due() == []
    began = dict(one._since)
    reader.see("a", here=True, revision=7)
    reader.see("a", here=False, revision=8)
    one._due()
    assert list(one._since) == [("a", 2)]
    assert one._since["a", 2] > began["a", 1]


async def test_a_mirror_that_is_behind_forgets_no_host(client: EtcdClient) -> None:
    """A bridge that was cut off first hears all up to now: the host may have been back."""
    one, reader, keys = await forgetter(client, "behind", 0.0)
    await client.put(keys.entry("a", b"k"), b"entry")
    reader.see("a", here=True, revision=1)
    reader.see("a", here=False, revision=2)
    (loss,) = one._due()
    for _ in range(3):
        await one._consider(loss)
    assert (await client.range(keys.entries("a"), prefix=True)).count == 1
    reader.revision = client.revision
    await one._consider(loss)
    assert (await client.range(keys.entries("a"), prefix=True)).count == 0
