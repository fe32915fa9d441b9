"""Standbys and heartbeats: the parts of the model that are about turns and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import astuple, replace

from adsum._engine.heartbeats import RETRY_NS, Lateness
from adsum.model import Limits

from .asks import Ask, Id
from .reading import Change, PlainEntry, id_key


class Queues:
    """The standbys of each id, first come first."""

    def __init__(self) -> None:
        self._lines: dict[Id, list[Ask]] = {}

    def __iter__(self) -> Iterator[Ask]:
        for id in sorted(self._lines, key=id_key):
            yield from self._lines[id]

    def copy(self) -> Queues:
        other = Queues()
        other._lines = {id: list(line) for id, line in self._lines.items()}
        return other

    def join(self, ask: Ask) -> None:
        """Queue a standby. One that asks again keeps its position."""
        line = self._lines.setdefault(ask.items[0].id, [])
        if ask.name not in [one.name for one in line]:
            line.append(ask)

    def leave(self, ask: Ask) -> None:
        line = self._lines[ask.items[0].id]
        line[:] = [one for one in line if one.name != ask.name]

    def of(self, id: Id) -> list[Ask]:
        return list(self._lines.get(id, ()))

    def in_session(self, session: bytes) -> list[Ask]:
        return [one for one in self if one.session == session]

    def violations(self, rows: Sequence[tuple[Id, bytes, int]]) -> list[str]:
        """The violations of the rows, which come in the order of their keys."""
        wanted = [(one.items[0].id, one.session, one.number) for one in self]
        return [] if list(rows) == wanted else [f"the standbys are {rows}, should be {wanted}"]


class _Promise(NamedTuple):
    key: bytes
    every: int
    signed: int
    # How many stages of lateness were noted: none, degraded, unhealthy.
    said: int


class Promises:
    """The heartbeats promised to the serving registrar, when each last came, and the lateness that was noted."""

    def __init__(self, limits: Limits) -> None:
        self._after = (limits.degraded_after, limits.unhealthy_after)
        self._made: dict[int, _Promise] = {}
        self._unsure_until = 0

    def begin(self, entries: Sequence[PlainEntry], now: int) -> None:
        """A registrar starts: every member has its full time anew."""
        self._made = {}
        for entry in entries:
            self.follow(entry, now)

    def keep(self, changes: Sequence[Change], late: Sequence[Lateness], signed: Sequence[int], now: int) -> None:
        """A batch was committed: its changes, its missed heartbeats, and those that came."""
        for one in late:
            if (known := self._made.get(one.incarnation)) is not None:
                self._made[one.incarnation] = known._replace(said=known.said + 1)
        for change in changes:
            before, after = change.before, change.after
            if before is not None and (after is None or after.incarnation != before.incarnation):
                self._made.pop(before.incarnation, None)
            if after is not None:
                self.follow(after, now)
        for incarnation in signed:
            if (known := self._made.get(incarnation)) is not None:
                self._made[incarnation] = known._replace(signed=now, said=0)

    def received(self, incarnation: int, now: int) -> None:
        """A member left a heartbeat in shared memory."""
        if (known := self._made.get(incarnation)) is not None:
            self._made[incarnation] = known._replace(signed=now)

    def follow(self, entry: PlainEntry, now: int) -> None:
        """An entry was made, or changed."""
        every = entry.metadata["heartbeat"]
        known = self._made.get(entry.incarnation)
        if every is None:
            self._made.pop(entry.incarnation, None)
        elif known is None or known.every != int(every * 1e9):
            said = 0 if entry.source != "registrar" else 2 if entry.metadata["health_status"] == "unhealthy" else 1
            self._made[entry.incarnation] = _Promise(id_key(entry.id), int(every * 1e9), now, said)

    def late(self, now: int) -> list[Lateness]:
        """The members that are late by now, in the order in which they became so."""
        due = []
        for incarnation, promise in self._made.items():
            for said in range(promise.said, 2):
                when = promise.signed + int(promise.every * self._after[said])
                if when <= now:
                    status = ("degraded", "unhealthy")[said]
                    due.append((when, incarnation, said, promise.key, status))
        return [Lateness(key, incarnation, status) for _, incarnation, _, key, status in sorted(due)]  # type: ignore[arg-type]

    def retry(self, now: int) -> None:
        """It could not be committed; for a moment the registrar need not return it again."""
        self._unsure_until = now + RETRY_NS

    def violations(self, late: Sequence[Lateness], now: int) -> list[str]:
        wanted, late = self.late(now), [replace(one, place=0) for one in late]
        if late == wanted or (now < self._unsure_until and set(late) <= set(wanted)):
            return []
        if now >= self._unsure_until > 0 and sorted(late, key=astuple) == sorted(wanted, key=astuple):
            # In the order in which they were put off.
            return []
        return [f"at {now} {late} are late, should be {wanted}"]
