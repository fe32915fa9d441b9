"""One request on its way, and who waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, NamedTuple, TypeVar

from .. import _wire as wire
from ..errors import AdsumError, RegistryClosed
from .connection_pool import GRACE_SECONDS
from .dial import START_SECONDS

T = TypeVar("T")


class Queueing(NamedTuple):
    """What goes with a request that may be queued at the registrar: `queued` is told when it is, or when it is
    answered; `refused` gets an answer that came in the moment in which its waiter cancelled."""

    queued: Future[None]
    refused: Callable[[wire.Done], None]


class PendingCall(Generic[T]):
    """One request on its way, and who waits for what is made of its reply."""

    __slots__ = ("deadline", "future", "give_up", "number", "patience", "request", "seconds", "sent", "take")

    def __init__(
        self,
        number: int,
        request: wire.AnyRequest,
        take: Callable[[wire.Done], T],
        timeout: float | None,
        patience: Queueing | None,
    ) -> None:
        now = time.monotonic()
        self.number = number
        self.request = request
        self.take = take
        self.future: Future[T] = Future()
        self.seconds = timeout
        # When a call has no timeout of its own, its time runs from the moment a registrar is there to be asked.
        self.deadline: float | None = None if timeout is None else now + timeout
        self.give_up = now + (START_SECONDS if timeout is None else timeout + GRACE_SECONDS)
        self.patience = patience
        self.sent = False

    @property
    def is_queued(self) -> bool:
        """Queued at the registrar: from then on it is waited for without end."""
        return self.give_up == math.inf

    def was_queued(self) -> None:
        self.give_up = math.inf
        self._tell()

    def is_wanted(self) -> bool:
        """Whether it is to be sent, or sent again. What may be queued can be cancelled to the end; if it was sent, a
        registrar may have carried it out, and the answer has to be heard to be undone."""
        if self.patience is not None:
            return self.sent or not self.future.cancelled()
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def _tell(self) -> None:
        if self.patience is not None and not self.patience.queued.done():
            self.patience.queued.set_result(None)

    def is_the_parents(self) -> None:
        """In a forked child: the answer goes to the parent, and whoever waits for it here is told so."""
        # A thread that is not here may have held the lock of the one it had.
        self.future._condition = threading.Condition()
        self.settle(RegistryClosed("this was asked for before the fork, and its answer goes to the parent; ask again"))

    def settle(self, outcome: wire.Done | AdsumError) -> None:
        self._settle(outcome)
        self._tell()

    def _settle(self, outcome: wire.Done | AdsumError) -> None:
        try:
            if isinstance(outcome, AdsumError):
                self.future.set_exception(outcome)
                return
            try:
                taken = self.take(outcome)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
                self.future.set_exception(error)
            else:
                self.future.set_result(taken)
        except InvalidStateError:
            # The waiter cancelled in the same moment and does not look any more.
            if self.patience is not None and isinstance(outcome, wire.Done):
                self.patience.refused(outcome)
