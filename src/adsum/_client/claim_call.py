"""A call that claims a slot, which the registrar may queue; and the end of a claim that no caller holds.

The caller names the claim itself, by a number that it draws. So it can end the claim without knowing whether it was
granted, is queued, or never arrived: one `wire.Release` is right in each case, may be repeated, and is sent wherever
the call ends without a claim (cancelled, interrupted, out of time).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import msgspec

from .. import _wire as wire
from .._instrument import Observer
from ..errors import AdsumError, Timeout
from .member_end import RepeatedRequest
from .pending_call import PendingCall
from .pipeline import Pipeline

T = TypeVar("T")


def new_number() -> int:
    """A number for a claim, which no other claim of this process has. JavaScript reads it exactly (53 bits)."""
    return int.from_bytes(os.urandom(8)) >> 11


class ClaimEnd(RepeatedRequest):
    """Ends a claim, whether it is held or waits, and repeats that until a registrar has answered. Then `answered` is
    done."""

    def __init__(self, pipeline: Pipeline, request: wire.Claim) -> None:
        super().__init__(pipeline, wire.Release(owner=request.owner, number=request.number))
        self.answered: Future[None] = Future()

    def _ended(self) -> None:
        self.answered.set_result(None)


class ClaimCall(PendingCall[T]):
    """A `PendingCall` that claims a slot. It can be cancelled until its future has a result."""

    __slots__ = ("_claim", "_pipeline", "_sent", "ended")

    def __init__(
        self,
        request: wire.Claim,
        convert: Callable[[wire.Done], T],
        seconds: float | None,
        observer: Observer | None,
        pipeline: Pipeline,
    ) -> None:
        super().__init__(request, convert, seconds, observer)
        self._claim = request
        self._pipeline = pipeline
        self._sent = False
        # Done when the registrar knows of the end of a call that was ended without a claim.
        self.ended: Future[None] | None = None
        self.future.add_done_callback(self._withdraw)

    def claim(self) -> bool:
        # The mark comes before the look at the future: a cancellation that this look misses finds the mark.
        self._sent = True
        return not self.future.cancelled()

    def queue(self, position: int) -> None:
        super().queue(position)
        # With the next registrar it takes its queue position again.
        self.request = msgspec.structs.replace(self._claim, position=position)

    @property
    def is_granted(self) -> bool:
        """Whether the future has the claim."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    def end(self) -> None:
        """End the call, and the claim whatever became of it. For a caller that will not hold it."""
        self.future.cancel()
        # Where there is a claim to end, once.
        is_sent, self._sent = self._sent, False
        if is_sent:
            end = ClaimEnd(self._pipeline, self._claim)
            self.ended = end.answered
            end.send()

    def _withdraw(self, future: Future[T]) -> None:
        if future.cancelled():
            # Not sent again: the release that follows is the last word.
            self._pipeline.forget(self.number)
            self.end()

    def _accept(self, done: wire.Done) -> T:
        # Without an entry there is no claim to end.
        self._sent = bool(done.entries)
        return super()._accept(done)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, AdsumError) and not isinstance(error, Timeout):
            # Refused by the registrar; or the registry was closed, or in a forked child the claim is the parent's.
            self._sent = False
        super()._fail(error)
        # In the other cases the registrar may have granted it.
        self.end()
