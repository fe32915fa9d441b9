"""Fixtures for tests with etcd."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from tests.support import eventually
from tests.support.etcd import EtcdCluster, which_etcd

from .command_hosts import SOON, Host, opened_hosts
from .host_processes import Hosts

_numbers = itertools.count()


def pytest_report_header() -> str:
    return which_etcd()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One etcd server, shared by the tests of a module: each uses keys of its own."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
async def client(etcd: EtcdCluster) -> AsyncIterator[EtcdClient]:
    """A client of `etcd`. Calls may take longer than usual on a busy machine."""
    async with EtcdClient(parse(etcd.address()), timeout=10) as opened:
        yield opened


@pytest.fixture
def hosts(etcd: EtcdCluster, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    """Hosts of a cluster of this test's own, in the etcd of the module."""
    with Hosts(etcd.address(cluster_name(request.node.name))) as opened:
        yield opened


def cluster_name(text: str) -> str:
    """A name for a cluster, made of the name of a test."""
    return "".join(letter if letter.isalnum() else "-" for letter in text)[-60:].strip("-")


@pytest.fixture(scope="module")
def shared_memory() -> Iterator[Path]:
    """A folder for the registries of a module's tests."""
    base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def observing(etcd: EtcdCluster, shared_memory: Path) -> Iterator[Host]:
    """The observer, with a bridge, while no test has its registry open."""
    with opened_hosts(shared_memory, etcd.address(), "observer") as (host,):
        host.start_bridge("--ttl", "5")
        host.registry.close()
        yield host


@pytest.fixture
def observer(observing: Host) -> Iterator[Host]:
    """A host of the cluster of a module's tests, which they only look from."""
    observing.reopen()
    yield observing
    observing.registry.close()


@pytest.fixture
def bare(observer: Host, shared_memory: Path) -> Iterator[Host]:
    """A host of this test's own, not in the cluster yet."""
    with opened_hosts(shared_memory, observer.address, f"host-{next(_numbers)}") as (host,):
        yield host


@pytest.fixture
def host(bare: Host, observer: Host) -> Host:
    """A host of this test's own in the cluster, with a bridge and a member, `worker`, which the observer sees."""
    bare.registry.register("worker")
    bare.start_bridge("--ttl", "5")
    eventually(lambda: observer.sees(bare, "worker"), SOON)
    return bare
