"""Fixtures for tests with etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from tests.support.etcd import EtcdCluster, which_etcd

from .host_processes import Hosts


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
