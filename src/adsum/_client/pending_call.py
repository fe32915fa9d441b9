"""A call in the pipeline: one request, its time, and the future of its result.

A plain call goes through these states:

- *new*: not sent yet. Cancelling its future works: the request is never sent.
- *sent*: in flight, and sent again to the next registrar if this one dies without a reply. Cancelling fails, because a
  registrar may apply the request at any moment.
- *settled*: it has a reply, an error, or no time left; its future is done.

A queueable call (`stand_by_call.StandByCall`) has two more:

- *queued*: the registrar will reply later. From then on the call has no deadline.
- *cancelled*: possible in every state but settled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, TypeVar

from .. import _wire as wire
from .._instrument import Observer
from ..errors import AdsumError, RegistryClosed
from .connection import GRACE_SECONDS
from .dial import START_SECONDS

T = TypeVar("T")


class PendingCall(Generic[T]):
    """A plain call. The pipeline gives it its `number`, and calls its other methods in its own thread."""

    __slots__ = (
        "_convert",
        "_deadline",
        "_observer",
        "dropped_by",
        "future",
        "give_up",
        "is_queued",
        "number",
        "request",
        "seconds",
    )

    def __init__(
        self,
        request: wire.AnyRequest,
        convert: Callable[[wire.Done], T],
        seconds: float | None,
        observer: Observer | None = None,
    ) -> None:
        """`convert` makes the result of the reply, before the future is done. `seconds` is the call's own timeout;
        None means the registry's bound, counted from when a registrar serves."""
        now = time.monotonic()
        self.request = request
        self.number = 0
        # The pid of the registrar that has ended the connection on which it was sent last; 0 for none.
        self.dropped_by = 0
        self.future: Future[T] = Future()
        self.seconds = seconds
        # Whether the registrar has queued it: then it is waited for over all registrars to come.
        self.is_queued = False
        # When the call fails without a reply; None where it is waited for without bound.
        self.give_up: float | None = now + (START_SECONDS if seconds is None else seconds + GRACE_SECONDS)
        self._deadline = now if seconds is None else now + seconds
        self._convert = convert
        self._observer = observer

    def is_late(self, now: float) -> bool:
        """Whether its time is over."""
        return self.give_up is not None and self.give_up <= now

    def claim(self) -> bool:
        """Whether to send it, now or once more: *new* becomes *sent*, unless its future was cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def begin(self, now: float, registration_timeout: float) -> float:
        """The deadline for the registrar, when the call is sent at `now` to one with this bound."""
        if self.is_queued:
            # It keeps its position in the tables; the next registrar only has to acknowledge it.
            return now + START_SECONDS
        if self.seconds is None:
            self._deadline = now + registration_timeout
            self.give_up = self._deadline + GRACE_SECONDS
        return self._deadline

    def queue(self, _position: int) -> None:
        """The registrar has queued it."""
        self.is_queued = True
        self.give_up = None

    def settle(self, outcome: wire.Done | AdsumError) -> None:
        """End the call with a reply or an error."""
        try:
            if isinstance(outcome, AdsumError):
                self._fail(outcome)
            else:
                self._succeed(outcome)
        except InvalidStateError:
            # The caller has cancelled it at this moment, and does not wait any more.
            self._disown(outcome)

    def _succeed(self, done: wire.Done) -> None:
        try:
            result = self._accept(done)
        except Exception as error:  # noqa: BLE001 - any error of a conversion belongs to the caller, not to the pipeline
            self._fail(error)
        else:
            if self._observer is not None:
                self._observer.succeeded(len(done.entries), changed=done.changed, background=True)
            self.future.set_result(result)

    def _accept(self, done: wire.Done) -> T:
        """The result of a reply."""
        return self._convert(done)

    def _fail(self, error: Exception) -> None:
        if self._observer is not None and isinstance(error, AdsumError) and not self.future.done():
            # Before the caller has it, as with a result.
            self._observer.failed(error, background=True)
        self.future.set_exception(error)

    def _disown(self, outcome: wire.Done | AdsumError) -> None:
        """The outcome of a call that was cancelled: a plain one was never sent, so the outcome is an error."""

    def abandon(self) -> None:
        """In a forked child: the reply goes to the parent, and a caller here gets an error."""
        # A thread of the parent may have held the lock of the condition at the fork.
        self.future._condition = threading.Condition()
        self.settle(RegistryClosed("this was asked for before the fork, and its answer goes to the parent; ask again"))
