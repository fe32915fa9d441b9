"""One question to a cluster, without a client that is kept: for programs that ask rarely."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

from ..errors import ClusterUnavailable
from . import versions
from .address import parse
from .client import EtcdClient
from .errors import EtcdError

T = TypeVar("T")


async def newest_revision(address: str, timeout: float) -> int:
    """The revision of etcd at this moment, as a majority states it, within `timeout` seconds in all. Errors:
    `ClusterUnavailable`; `InvalidClusterAddress`."""
    cluster, until = parse(address), time.monotonic() + timeout
    try:
        async with EtcdClient(cluster, password=os.environ.get("ADSUM_ETCD_PASSWORD")) as etcd:
            if not versions.is_reliable((await etcd.status(timeout=timeout)).version):
                # Its watches say nothing that can be relied on about revisions without a change of the cluster's keys:
                # this makes one, which every watch delivers.
                return await etcd.put(f"/adsum/{cluster.name}/s".encode(), b"", timeout=until - time.monotonic())
            page = await etcd.range(f"/adsum/{cluster.name}/v".encode(), timeout=until - time.monotonic())
            return page.revision
    except EtcdError as error:
        raise ClusterUnavailable(f"{error}; the registry of this host goes on, and see adsum doctor") from error


def in_a_loop(question: Callable[[], Coroutine[None, None, T]]) -> T:
    """The answer to a question, awaited in a thread of its own: the caller may be in an event loop."""
    found: list[T] = []
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            found.append(asyncio.run(question()))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=ask, name="adsum-etcd", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return found[0]
