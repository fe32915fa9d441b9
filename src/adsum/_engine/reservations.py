"""Reservations: ids whose holders live, and are about to register themselves anew because their folder is gone.

The last registrar of the folder lists them for the next one. Until the time that its members take to return is over, no
other process gets a reserved id. A reservation is in memory alone, and in no table: for readers the id is free.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from .._store.layout import Change
from ..errors import AlreadyRegistered
from ..model import EPOCH, Entry, Metadata, Owner, ProcessId


class Reservation(msgspec.Struct, frozen=True):
    """An id that `owner` held in the registry that is gone."""

    process_id: ProcessId
    owner: Owner

    def refusal(self) -> AlreadyRegistered:
        """The answer to another process that wants the id."""
        pid = self.owner.pid
        return AlreadyRegistered(
            f"{self.process_id} is held by process {pid}, which registers itself anew in this moment, because the "
            "folder of the registry was removed; use another id, or stand_by() to get it when it is free",
            # Its incarnation is not known yet.
            entry=Entry(self.process_id, *self.owner, 0, EPOCH, EPOCH, 0, Metadata()),
        )


class Reservations:
    """The reservations of one registry, by the keys of their ids. They are over at `until`, in nanoseconds of the
    monotonic clock."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, Reservation] = {}
        self.until = 0

    def begin(self, by_key: Mapping[bytes, Reservation], until: int) -> None:
        """Reserve these ids."""
        self.by_key.update(by_key)
        self.until = until

    def __iter__(self) -> Iterator[tuple[bytes, Reservation]]:
        return iter(list(self.by_key.items()))

    def get(self, key: bytes) -> Reservation | None:
        return self.by_key.get(key)

    def follow(self, changes: Iterable[Change], ended: Collection[bytes]) -> None:
        """A batch was committed: ids that are held are reserved no more, nor those whose reservations it has ended."""
        for change in changes:
            if change.after is not None:
                self.by_key.pop(change.key, None)
        for key in ended:
            self.by_key.pop(key, None)
