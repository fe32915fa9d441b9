"""Registration of a name for the whole cluster, in a thread that waits for the cluster's answer."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures

from ._calls import Calls, whole
from ._client.connection_pool import seconds
from ._client.target import AnyProcess
from ._everywhere import USUAL_SECONDS, NameMode, name_timed_out
from ._reads import AnyId
from .registration import Registration


def register_everywhere(
    calls: Calls,
    id: AnyId,
    process: AnyProcess | None,
    metadata: Mapping[str, object],
    timeout: float | None,
    *,
    replace: bool = False,
) -> Registration:
    """Register a name for the whole cluster, if it is free."""
    patience = USUAL_SECONDS if timeout is None else seconds(timeout) or 0.0
    call = calls.stand_by(id, metadata, patience, whole, process=process, everywhere=NameMode.now, replace=replace)
    try:
        futures.wait([call.future], patience)
        if not call.future.done() and call.future.cancel():
            raise name_timed_out(patience, calls.reader.folder)
        return Registration(calls, call.future.result().entries[0])
    finally:
        call.future.cancel()
