"""Checks of an etcd, from this host: can it be reached, is it fit for a cluster, and may this host do what is needed.

They write nothing: what a role allows is asked with transactions whose condition never holds, of which etcd checks the
permission all the same.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._client import cluster
from ..errors import AdsumError, ClusterUnavailable, InvalidClusterAddress
from .findings import Finding, problem

if TYPE_CHECKING:
    from .._etcd.client import EtcdClient
    from .._etcd.errors import EtcdError

REACH_SECONDS = 3.0


def check(address: str, *, host: str = "", folder: Path | None = None) -> list[Finding]:
    """Check an etcd for a cluster with this address, and return one finding or more for each check.

    Asked are: each member that the address names (version, leader, size of its database), the majority, alarms, the
    history since the last compaction, the layout of the keys, what the role of this host allows, the hosts that are in
    the cluster with their clocks, and, with `host` and `folder`, whether another registry has the name of this host.

    Nothing is written. Errors: none; what cannot be asked is a ``problem``.

    >>> [finding.level for finding in adsum.admin_cluster.check("etcd://:1/prod")]
    ['problem']
    """
    try:
        cluster.require_extra()
        from .._etcd.address import parse

        parsed = parse(address)
    except ClusterUnavailable as error:
        return [problem("extra", str(error), "pip install 'adsum[cluster]'")]
    except InvalidClusterAddress as error:
        return [problem("address", str(error), "give it as etcd://HOST:PORT,HOST:PORT/NAME")]
    from .._etcd.asking import in_a_loop
    from .._etcd.client import EtcdClient

    async def ask() -> list[Finding]:
        async with EtcdClient(parsed, timeout=REACH_SECONDS, password=os.environ.get("ADSUM_ETCD_PASSWORD")) as etcd:
            return [finding async for finding in _findings(etcd, host, folder)]

    try:
        return in_a_loop(ask)
    except AdsumError as error:
        # A file of TLS, for one.
        return [problem("address", str(error), "see the files that the address and ADSUM_ETCD_* name")]


async def _findings(etcd: EtcdClient, host: str, folder: Path | None) -> AsyncIterator[Finding]:
    from .._bridge.keys import Keys
    from .._etcd.errors import EtcdError
    from .etcd_checks import check_history, check_majority, check_members
    from .key_checks import check_clocks, check_hosts, check_layout, check_role

    keys = Keys(etcd.address.name)
    reached = False
    async for finding in check_members(etcd):
        reached |= finding.level != "problem"
        yield finding
    if not reached:
        return
    checks: list[tuple[str, Callable[[], AsyncIterator[Finding]]]] = [
        ("etcd majority", lambda: check_majority(etcd, keys)),
        ("etcd history", lambda: check_history(etcd, keys)),
        ("layout", lambda: check_layout(etcd, keys)),
        ("role", lambda: check_role(etcd, keys, host or "adsum-check")),
        ("hosts", lambda: check_hosts(etcd, keys, host, folder)),
        ("clocks", lambda: check_clocks(etcd, keys)),
    ]
    for name, one in checks:
        try:
            async for finding in one():
                yield finding
        except EtcdError as error:
            yield problem(name, str(error), remedy_for(error))


def remedy_for(error: EtcdError) -> str:
    """What to do about an error of etcd."""
    from .._etcd.errors import AccessDenied, NoSpace, NotAuthenticated
    from .etcd_checks import USER_REMEDY

    if isinstance(error, AccessDenied):
        return "give the user of this host the role that the page on TLS and roles shows"
    if isinstance(error, NotAuthenticated):
        return USER_REMEDY
    if isinstance(error, NoSpace):
        return "compact, defragment, and then: etcdctl alarm disarm"
    return "check that a majority of the etcd members runs and can be reached from here"
