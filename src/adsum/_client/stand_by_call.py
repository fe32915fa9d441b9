"""A call that the registrar may queue: standing by for an id.

It can be cancelled until its future has a result. What that takes depends on the moment:

- **Not sent**: it is not sent any more.
- **Sent or queued**: the registrar is asked to remove the standby (`wire.Cancel`). The call stays in the pipeline until
  that is answered, because until then the grant may be on its way.
- **Granted at the same moment**: the reply meets a cancelled future. The id is unregistered again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import msgspec

from .. import _wire as wire
from .._instrument import Observer
from .._store.local_members import LocalMembers
from ..errors import AdsumError
from .member_end import MemberEnd
from .pending_call import PendingCall
from .pipeline import Pipeline

T = TypeVar("T")


class StandByCall(PendingCall[T]):
    """A `PendingCall` that stands by for an id; its future has the registration.

    `queued` is done as soon as the registrar has answered at all: the standby is queued, or the call is settled.
    """

    __slots__ = ("_local_members", "_pipeline", "_request", "_sent", "queued")

    def __init__(
        self,
        request: wire.StandBy | wire.StandByEverywhere,
        convert: Callable[[wire.Done], T],
        seconds: float | None,
        observer: Observer | None,
        pipeline: Pipeline,
        local_members: LocalMembers,
    ) -> None:
        super().__init__(request, convert, seconds, observer)
        self._request = request
        self._pipeline = pipeline
        self._local_members = local_members
        self._sent = False
        self.queued: Future[None] = Future()
        self.future.add_done_callback(self._withdraw)

    def claim(self) -> bool:
        # A call that was sent is sent again even if it is cancelled: a registrar may have granted the id, and the reply
        # is needed to undo that. The mark comes before the look at the future: a cancellation that this look misses
        # finds the mark, and is sent behind the request.
        was_sent, self._sent = self._sent, True
        return was_sent or not self.future.cancelled()

    def queue(self, position: int) -> None:
        super().queue(position)
        # In a registry that is made anew, it takes its queue position again.
        self.request = msgspec.structs.replace(self._request, position=position)
        self._answered()

    def settle(self, outcome: wire.Done | AdsumError) -> None:
        super().settle(outcome)
        self._answered()

    def _answered(self) -> None:
        if not self.queued.done():
            self.queued.set_result(None)

    def _withdraw(self, future: Future[T]) -> None:
        """The future is done; if it was cancelled, the registrar has to know."""
        if future.cancelled() and self._sent:
            self._pipeline.cancel(self.number, self._withdrawn)

    def _withdrawn(self, _done: wire.Done) -> None:
        # No reply follows the answer to the cancellation.
        self._pipeline.forget(self.number)

    def _disown(self, outcome: wire.Done | AdsumError) -> None:
        if isinstance(outcome, wire.Done):
            MemberEnd(self._pipeline, self._local_members, outcome.entries[0]).send()
