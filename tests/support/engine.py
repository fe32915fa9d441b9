"""Fakes of the engine's ports: tables with given entries and standbys, and a kernel with given dead owners."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from adsum._store.layout import (
    Record,
    RemoteRegistration,
    Standby,
    key_of,
    lacks_exit,
    lacks_remote_exit,
    pack_number,
    unpack_number,
)
from adsum._store.query import Query
from adsum.model import Departure, Owner


class FakeView:
    """A `View` of the given entries, at their newest revision."""

    def __init__(
        self,
        records: Sequence[Record],
        standbys: Sequence[Standby] = (),
        departures: Sequence[tuple[int, Departure]] = (),
    ) -> None:
        self._records = records
        self._departures = departures
        self._standbys = list(standbys)
        self.revision = max((record.entry.revision for record in records), default=0)
        self.entries = len(records)
        self.bytes_used = 0
        self.standby_count = len(standbys)

    def measure(self) -> int:
        return self.bytes_used

    def has_room(self, needed: int) -> bool:
        return True

    def record(self, key: bytes) -> Record | None:
        return next((record for record in self._records if key_of(record.entry.process_id) == key), None)

    def owned(self, owner: Owner) -> list[Record]:
        return [record for record in self._records if record.entry.owner == owner]

    def count_owned(self, owner: Owner) -> int:
        return len(self.owned(owner))

    def candidates(self, query: Query) -> list[bytes]:
        return [pack_number(record.entry.incarnation) for record in self._records]

    def record_at(self, incarnation: bytes) -> Record:
        number = unpack_number(incarnation)
        return next(record for record in self._records if record.entry.incarnation == number)

    def standbys_of(self, key: bytes) -> list[Standby]:
        return [one for one in self._standbys if key_of(one.process_id) == key]

    def all_standbys(self) -> list[Standby]:
        return self._standbys

    def deaths_of(self, owner: Owner) -> list[tuple[int, Departure]]:
        return [one for one in self._departures if lacks_exit(one[1], owner)]

    def remote_deaths_of(self, registration: RemoteRegistration) -> list[tuple[int, Departure]]:
        return [one for one in self._departures if lacks_remote_exit(one[1], registration)]


class FakeKernel:
    """A kernel in which every owner is alive but the given ones; an owner in `dies_after` is dead after so many
    questions about it."""

    def __init__(self, dead: Collection[Owner] = (), dies_after: Mapping[Owner, int] | None = None) -> None:
        self._dead = dead
        self._left = dict(dies_after or {})

    def is_alive(self, owner: Owner) -> bool:
        if owner in self._left:
            self._left[owner] -= 1
        return owner not in self._dead and self._left.get(owner, 0) >= 0
