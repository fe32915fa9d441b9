"""What the engine is given, and what it answers: plain values, so that a test can make them up and look at them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from .. import _wire as wire
from .._store.layout import Change, Record, Standby
from ..model import Departure, Owner
from .heartbeats import Lateness
from .succession import Grant


class Kernel(Protocol):
    """Who lives. `watch` also starts to wait for the owner's death; both answer for this very moment."""

    def watch(self, owner: Owner) -> bool: ...
    def is_alive(self, owner: Owner) -> bool: ...


class Death(NamedTuple):
    """The kernel's word that `owner` is dead, and when it came, in nanoseconds on the monotonic clock."""

    owner: Owner
    noticed: int


class Call(NamedTuple):
    """A request in its envelope, the session that sent it, and the process whose session that is."""

    session: bytes
    number: int
    deadline: int
    request: wire.AnyRequest
    caller: Owner | None = None


class Batch(NamedTuple):
    """What is decided together and committed together."""

    deaths: Sequence[Death] = ()
    ended: Sequence[tuple[Owner, bytes]] = ()
    calls: Sequence[Call] = ()
    late: Sequence[Lateness] = ()


class Clock(NamedTuple):
    """The time of a batch: UTC for people, monotonic nanoseconds for deadlines and durations."""

    utc: datetime
    monotonic: int


class Decision(NamedTuple):
    """What to commit, what to answer, and whom to watch no longer.

    There is one reply for each call, in order; `grants` are late answers to those who stood by. `signs` are the
    incarnations that gave a sign of life; `touched` did that and changed in nothing else.
    """

    changes: list[Change]
    departures: list[tuple[int, Departure]]
    replies: list[wire.AnyReply]
    released: set[Owner]
    touched: Sequence[Record] = ()
    signs: Sequence[int] = ()
    joined: Sequence[Standby] = ()
    withdrawn: Sequence[Standby] = ()
    grants: Sequence[Grant] = ()

    @property
    def writes(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.changes or self.touched or self.joined or self.withdrawn)
