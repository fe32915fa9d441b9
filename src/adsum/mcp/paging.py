"""Pages of members, sorted by id. A cursor is the last id of a page, so it stays right when members come and go."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from ..model import Entry, ProcessId
from .answers import MAX_ANSWER

S = TypeVar("S", bound=str)


class MemberPage(NamedTuple, Generic[S]):
    """Some members as they are shown, and the cursor for those that follow; None where there are none."""

    items: list[S]
    next_cursor: str | None


class BadCursor(ValueError):
    """The cursor is none that a page had."""


def page(entries: Sequence[Entry], show: Callable[[Entry], S], limit: int, cursor: str | None) -> MemberPage[S]:
    """The first `limit` of the entries, sorted by id, behind the cursor; fewer where they are long. Errors:
    `BadCursor`."""
    first = 0 if cursor is None else bisect_right(entries, _last(cursor), key=lambda entry: entry.process_id)
    items: list[S] = []
    size = 0
    for entry in entries[first : first + limit]:
        item = show(entry)
        size += len(item)
        if items and size > MAX_ANSWER:
            break
        items.append(item)
    end = first + len(items)
    return MemberPage(items, _cursor(entries[end - 1].process_id) if 0 < end < len(entries) else None)


def _cursor(last: ProcessId) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(last)).decode()


def _last(cursor: str) -> ProcessId:
    try:
        return msgspec.json.decode(base64.b64decode(cursor, altchars=b"-_", validate=True), type=ProcessId)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadCursor("this is no cursor of an earlier answer; leave it out to begin at the first page") from error
