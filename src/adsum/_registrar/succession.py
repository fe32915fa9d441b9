"""Standing by: who waits for an id, and who gets it when it is free.

Those who wait are rows of the tables, in the order in which they came, so their places outlive a registrar. An id that
becomes free goes to the first of them who lives, in the very commit that made it free: between two holders nobody else
can take it, and nobody ever finds it without one longer than the kernel took to give word. Who waits is bound to the
session that asked: it ends with its process, or when the registry is closed there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .. import _wire as wire
from .._store.layout import Record, Standby
from .._validation import id_key
from ..errors import AlreadyRegistered, SystemBusy
from ..model import Owner
from .draft import Draft

if TYPE_CHECKING:
    from .batch import Call

MAX_STANDBYS = 4096


class Grant(NamedTuple):
    """What somebody who waited is told: the answer to the request that was queued."""

    waiting: Standby
    reply: wire.AnyReply


def queue(draft: Draft, request: wire.StandBy, call: Call, now: int) -> wire.AnyReply:
    """Add a request to those who wait for its id. One that comes again, from a registrar that died, keeps its place."""
    waiting = draft.standing_by(id_key(request.process_id))
    if not any(one.session == call.session and one.number == call.number for one in waiting):
        if draft.standbys >= MAX_STANDBYS:
            raise SystemBusy(f"{draft.standbys} processes stand by already; nothing was changed, try again later")
        # The monotonic clock goes on from one registrar to the next; those who come together come in order. The rows of
        # those who leave are taken out with this batch, so nobody is given their places in it.
        position = max([now, *(one.position + 1 for one in (*waiting, *draft.withdrawn))])
        draft.join(Standby(request.process_id, request.owner, request.fields, call.session, call.number, position))
    return wire.Queued(call.number)


def refuse_oneself(holder: Record, owner: Owner) -> None:
    """A process cannot outlive itself; what lives inside it can end before it does."""
    entry = holder.entry
    if entry.owner == owner and not holder.session:
        raise AlreadyRegistered(
            f"{entry.process_id} is held by this very process (incarnation {entry.incarnation}), which cannot take "
            "over from itself; stand by from another one",
            entry=entry,
        )
