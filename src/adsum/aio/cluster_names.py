"""Registration of a name for the whole cluster, awaited: the twin of `adsum._cluster_names`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from .._calls import Calls, whole
from .._client.connection_pool import seconds
from .._client.target import AnyProcess
from .._everywhere import USUAL_SECONDS, NameMode, name_timed_out
from .._reads import AnyId
from ..errors import Timeout
from .answer import granted
from .registration import AsyncRegistration


async def register_everywhere(
    calls: Calls,
    id: AnyId,
    process: AnyProcess | None,
    metadata: Mapping[str, object],
    timeout: float | None,
    *,
    replace: bool = False,
) -> AsyncRegistration:
    """Register a name for the whole cluster, if it is free."""
    patience = USUAL_SECONDS if timeout is None else seconds(timeout) or 0.0
    call = calls.stand_by(id, metadata, patience, whole, process=process, everywhere=NameMode.now, replace=replace)
    try:
        async with asyncio.timeout(patience):
            done = await granted(calls, call.future)
    except Timeout:
        raise
    except TimeoutError as error:
        raise name_timed_out(patience, calls.reader.folder) from error
    return AsyncRegistration(calls, done.entries[0])
