"""The engine's input and output: plain values, which a test can make and compare."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from .. import _wire as wire
from .._store.layout import Change, HostRow, Record, Standby
from ..model import Departure, Owner
from .claimers import WaitingClaim
from .heartbeats import Lateness


class Kernel(Protocol):
    """Answers for this very moment, at once. An answer changes nothing."""

    def is_alive(self, owner: Owner) -> bool: ...


class Instant(msgspec.Struct, frozen=True):
    """The time of a batch: UTC for people, monotonic nanoseconds for deadlines and durations."""

    utc: datetime
    monotonic: int


class Death(msgspec.Struct, frozen=True):
    """The kernel reported that `owner` is dead, at `noticed` nanoseconds on the monotonic clock; None where the owner
    died while no registrar ran."""

    owner: Owner
    noticed: int | None


class Exit(msgspec.Struct, frozen=True):
    """The process `owner`, which is dead, ended with this exit code or negative signal number."""

    owner: Owner
    code: int


class EndedSession(msgspec.Struct, frozen=True):
    """A client's session is over; its process may live on."""

    owner: Owner
    session: bytes


class Call(msgspec.Struct, frozen=True):
    """One request in the registrar: its session, the process that has the session, and the fields of its envelope."""

    session: bytes
    number: int
    deadline: int
    request: wire.AnyRequest
    caller: Owner | None = None


class Batch(msgspec.Struct, frozen=True):
    """Deaths, ended sessions, requests, missed heartbeats and exits that are decided and committed together. `hears`
    says whether the bridge hears from the cluster; None where the batch has nothing to do with other hosts. With
    `unreserves`, reservations that are over end."""

    deaths: Sequence[Death] = ()
    ended: Sequence[EndedSession] = ()
    calls: Sequence[Call] = ()
    late: Sequence[Lateness] = ()
    exits: Sequence[Exit] = ()
    hears: bool | None = None
    unreserves: bool = False


class Grant(msgspec.Struct, frozen=True):
    """The late reply to a request that was queued: `Done` when the standby holds the id, or the claimer a slot;
    `Failed` when that is impossible."""

    standby: Standby | WaitingClaim
    reply: wire.AnyReply


class Decision(msgspec.Struct, frozen=True):
    """The result of a round, which its caller carries out.

    - `changes`, `departures`: the steps of the history, and how entries ended, each with its revision.
    - `replies`: one for each call, in order; `grants` are late replies to standbys and waiting claims.
    - `watched`: the owners of new and changed entries, and new claimers: they have to be watched from before the
      commit on.
    - `released`: the owners that own nothing any more, and hold no slot.
    - `heartbeats`: the incarnations that sent a heartbeat; `refreshed`: the records that a heartbeat changed in
      their last health check, and in nothing else.
    - `queued`, `dequeued`: rows of standbys to add and to remove.
    - `amended`: departures of earlier batches, with their revisions, whose `exit` has become known.
    - `joined`, `left`: claims that begin to wait, and those that wait no more. They are in memory alone.
    - `awaited`: the living holders on whose account registrations were refused. One that is ending is waited for, and
      the batch is decided again with it among the dead.
    - `hosts`: rows of other hosts that have changed, None for one that is gone; `refusals`: what of them was left out.
    - `unreserved`: the keys of ids whose reservations end. They are in memory alone.
    """

    changes: Sequence[Change]
    departures: Sequence[tuple[int, Departure]]
    replies: Sequence[wire.AnyReply]
    grants: Sequence[Grant]
    watched: Sequence[Owner]
    released: Sequence[Owner]
    heartbeats: Sequence[int]
    refreshed: Sequence[Record]
    queued: Sequence[Standby]
    dequeued: Sequence[Standby]
    amended: Sequence[tuple[int, Departure]] = ()
    joined: Sequence[WaitingClaim] = ()
    left: Sequence[WaitingClaim] = ()
    hosts: Sequence[tuple[str, HostRow | None]] = ()
    refusals: Sequence[str] = ()
    awaited: Sequence[Owner] = ()
    unreserved: Sequence[bytes] = ()

    @property
    def writes(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.changes or self.refreshed or self.queued or self.dequeued or self.amended or self.hosts)
