"""The calls of one session that have no result yet, by number, and those of them that are to be sent."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

from .._os.locks import locked
from .pending_call import PendingCall

AnyCall: TypeAlias = "PendingCall[Any]"


class CallTable:
    """Safe for threads and, by `lock`, for the garbage collector, which may end a task, and so submit a call, inside
    any method of the same thread. So a list is copied before it is walked, and added to rather than replaced."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._calls: dict[int, AnyCall] = {}
        self._unsent: list[int] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def add(self, call: AnyCall) -> None:
        """Number a call and keep it until it is removed. The caller holds the lock."""
        self._number += 1
        call.number = self._number
        self._calls[call.number] = call
        self._unsent.append(call.number)

    def get(self, number: int) -> AnyCall | None:
        return self._calls.get(number)

    def remove(self, number: int) -> AnyCall | None:
        return self._calls.pop(number, None)

    def all(self) -> list[AnyCall]:
        return list(self._calls.values())

    @locked
    def dropped(self, registrar: int) -> list[AnyCall]:
        """The connection has ended on which the calls were sent. Removes and gives those that the same registrar has
        dropped before; not the queued, which this registrar or the next one has in its tables."""
        sent = [call for call in self.all() if not call.is_queued and call.number not in self._unsent]
        again = self._remove_all([call for call in sent if call.dropped_by == registrar])
        for call in sent:
            call.dropped_by = registrar
        return again

    @locked
    def send_again(self, *, with_queued: bool) -> None:
        """All of them are unsent, for a new connection; the queued ones only `with_queued`."""
        self._unsent += [call.number for call in self.all() if with_queued or not call.is_queued]

    @locked
    def send_queued_again(self) -> None:
        """The queued ones are unsent."""
        self._unsent += [call.number for call in self.all() if call.is_queued]

    def claim_unsent(self) -> list[AnyCall]:
        """The calls to send now, by number; those that were cancelled meanwhile are removed."""
        found = [call for number in self._take_unsent() if (call := self._calls.get(number)) is not None]
        claimed = []
        for call in found:
            if call.claim():
                claimed.append(call)
            else:
                self.remove(call.number)
        return claimed

    @locked
    def _take_unsent(self) -> list[int]:
        numbers, self._unsent = self._unsent, []
        return sorted(set(numbers))

    def next_deadline(self) -> float | None:
        """The earliest moment at which a call expires; None where none does."""
        return min([call.give_up for call in self.all() if call.give_up is not None], default=None)

    def remove_expired(self, now: float, *, unanswered: bool) -> list[AnyCall]:
        """The calls whose time is over; with `unanswered`, also those with the registry's own bound, because a
        registrar that serves did not even complete the handshake within it."""
        return self._remove_all(
            [
                call
                for call in self.all()
                if call.is_late(now) or (unanswered and call.seconds is None and not call.is_queued)
            ]
        )

    @locked
    def remove_failed(self, *, closed: bool) -> list[AnyCall]:
        """The calls that end with a lost registrar: all but the queued, whose positions are in the tables. Those end
        too where the session was `closed`."""
        return self._remove_all([call for call in self.all() if closed or not call.is_queued])

    def _remove_all(self, calls: list[AnyCall]) -> list[AnyCall]:
        return [call for call in calls if self.remove(call.number) is not None]
