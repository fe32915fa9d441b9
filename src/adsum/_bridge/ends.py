"""How members ended while no bridge saw it: the departures of the registry say so afterwards.

They are read once, and only where something has ended unseen. The registry keeps the last thousand, so an end may be
unknown, and is never a wrong one.
"""

from __future__ import annotations

from functools import cached_property

from .._store.layout import MAX_DEPARTURES, key_of
from .._store.reader import Reader
from ..model import Departure
from .records import EndRecord, decode_published
from .remote_hosts import UNREADABLE

HANDED_OVER = "handed_over"


class UnseenEnds:
    """The ends of members of the registry with this epoch."""

    def __init__(self, reader: Reader, epoch: int) -> None:
        self._reader = reader
        self._epoch = epoch

    def of(self, key: bytes, incarnation: int, present: int | None) -> EndRecord | None:
        """How this incarnation ended; of one that was handed over, how the last of its holders did. `present` is the
        incarnation that holds the id now. None where it is not known."""
        ends = [
            one
            for one in self._by_key.get(key, ())
            if incarnation <= one.entry.incarnation and (present is None or one.entry.incarnation < present)
        ]
        if not ends or ends[0].entry.incarnation != incarnation:
            return None
        end = next((one for one in ends if one.how != HANDED_OVER), ends[-1])
        return EndRecord(key, end.how, end.exit, incarnation)

    def of_published(self, key: bytes, value: bytes, present: int | None) -> EndRecord | None:
        """The same of the entry that this value in etcd has."""
        try:
            published = decode_published(value)
        except UNREADABLE:
            return None
        return self.of(key, published.entry.incarnation, present) if published.epoch == self._epoch else None

    @cached_property
    def _by_key(self) -> dict[bytes, list[Departure]]:
        """The departures of each key, the oldest first."""
        groups: dict[bytes, list[Departure]] = {}
        for one in reversed(self._reader.reports.departures(MAX_DEPARTURES, here=True)):
            groups.setdefault(key_of(one.entry.process_id), []).append(one)
        return groups
