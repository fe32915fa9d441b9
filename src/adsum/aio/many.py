"""The calls of `AsyncRegistry` about several entries at once: the twin of `adsum._many`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._amendment import UpdateKeywords
from .._calls import Calls, listed_ids, pairs, removed_of
from .._client.target import AnyProcess
from .._reads import AnyId
from .._validation import MetadataKeywords
from ..model import Entry
from .answer import answered, registered
from .registration import AsyncRegistration
from .registrations import AsyncRegistrations


async def register_many(
    calls: Calls,
    items: Sequence[tuple[AnyId, MetadataKeywords]],
    process: AnyProcess | None,
    timeout: float | None,
    *,
    replace: bool,
    owned_by: AnyId | Entry | None,
) -> AsyncRegistrations:
    items = pairs(items)
    if not items:
        return AsyncRegistrations(calls, [])
    write = calls.register(items, process, replace=replace, owned_by=owned_by)
    done = await registered(calls, write, timeout)
    return AsyncRegistrations(calls, [AsyncRegistration(calls, entry) for entry in done.entries])


async def update_many(
    calls: Calls, items: Sequence[tuple[AnyId, UpdateKeywords]], timeout: float | None
) -> list[Entry]:
    items = pairs(items)
    return (await answered(calls, calls.update_many(items), timeout)).entries if items else []


async def unregister_many(calls: Calls, ids: Iterable[AnyId], timeout: float | None) -> list[bool]:
    items = listed_ids(ids)
    if not items:
        return []
    write = calls.unregister_many(items)
    return removed_of(write.request.items, await answered(calls, write, timeout))
