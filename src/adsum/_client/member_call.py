"""A call that registers a thread or an asyncio task of this process.

The entry must not outlive its member, and no reader of this process may find it afterwards. So both are arranged in the
pipeline's thread, before the caller has its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import _wire as wire
from .._instrument import Observer
from .._store.reader import Reader
from ..model import Entry
from .member_end import MemberEnd
from .member_lifetimes import EndCheck, Member, when_over
from .pending_call import PendingCall
from .pipeline import Pipeline

T = TypeVar("T")


class MemberCall(PendingCall[T]):
    """A `PendingCall` whose new entries end with `member`."""

    __slots__ = ("_member", "_pipeline", "_reader")

    def __init__(
        self,
        request: wire.AnyRequest,
        convert: Callable[[wire.Done], T],
        seconds: float | None,
        observer: Observer | None,
        member: Member,
        pipeline: Pipeline,
        reader: Reader,
    ) -> None:
        super().__init__(request, convert, seconds, observer)
        self._member = member
        self._pipeline = pipeline
        self._reader = reader

    def _accept(self, done: wire.Done) -> T:
        if done.changed:
            self._bind_all(done.entries)
        return super()._accept(done)

    def _bind_all(self, entries: Sequence[Entry]) -> None:
        try:
            for entry in entries:
                self._bind(entry)
        except BaseException:
            # The end of the member would go unnoticed, where no thread could be started that waits for it, for one. So
            # the registration is undone; the caller gets the error.
            for entry in entries:
                self._end_of(entry).send()
            raise

    def _bind(self, entry: Entry) -> None:
        self._reader.add_local_member(entry, EndCheck(self._member))
        when_over(self._member, self._end_of(entry).send)

    def _end_of(self, entry: Entry) -> MemberEnd:
        return MemberEnd(self._pipeline, self._reader.local_members, entry)
