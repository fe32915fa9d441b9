"""The calls of `Registry` about several entries at once.

Each is one request: it is carried out whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from . import _wire as wire
from ._amendment import UpdateKeywords
from ._calls import Calls, listed_ids, pairs, removed_of
from ._client.target import AnyProcess
from ._reads import AnyId
from ._validation import MetadataKeywords
from .model import Entry
from .registration import Registration
from .registrations import Registrations


def register_many(
    calls: Calls,
    items: Sequence[tuple[AnyId, MetadataKeywords]],
    process: AnyProcess | None,
    timeout: float | None,
    *,
    replace: bool,
    owned_by: AnyId | Entry | None,
) -> Registrations:
    items = pairs(items)
    if not items:
        return Registrations(calls, [])
    write = calls.register(items, process, replace=replace, owned_by=owned_by)
    return calls.register_and_wait(write, timeout, partial(_registrations, calls))


def update_many(calls: Calls, items: Sequence[tuple[AnyId, UpdateKeywords]], timeout: float | None) -> list[Entry]:
    items = pairs(items)
    return calls.wait(calls.update_many(items), timeout).entries if items else []


def unregister_many(calls: Calls, ids: Iterable[AnyId], timeout: float | None) -> list[bool]:
    items = listed_ids(ids)
    if not items:
        return []
    write = calls.unregister_many(items)
    return removed_of(write.request.items, calls.wait(write, timeout))


def _registrations(calls: Calls, done: wire.Done) -> Registrations:
    return Registrations(calls, [Registration(calls, entry) for entry in done.entries])
