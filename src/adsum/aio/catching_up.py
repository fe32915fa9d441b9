"""Waiting for the cluster's present: the twin of `adsum._catching_up.catch_up`."""

from __future__ import annotations

import asyncio

from .._catching_up import CatchUp
from .._foreign import reraise_foreign
from .._reads import RegistryReads
from ..errors import ClusterUnavailable
from .loop import require_loop


async def catch_up(reads: RegistryReads, timeout: float | None) -> int:
    require_loop()
    wait = CatchUp(reads, timeout)
    from .._etcd.asking import newest_revision

    try:
        revision = await newest_revision(wait.address, wait.seconds)
    except ClusterUnavailable as error:
        reraise_foreign(error)
        if (unanswered := wait.unanswered(error)) is None:
            raise
        raise unanswered from error
    for pause in wait.until(revision):
        await asyncio.sleep(pause)
    return revision
