"""The replies of a decision, framed, each with its receipt and its binding."""

from collections.abc import Sequence

import msgspec

from .. import _wire as wire
from .._engine.batch import Call, Decision
from ..errors import AdsumError


class OutgoingReply(msgspec.Struct, frozen=True):
    """A framed reply on its way to a session, under the number of its request.

    - `deadline`: the request's; None for a grant, which may come at any time.
    - `kept`: a receipt of it is stored with the commit, until the reply was sent.
    - `binds`: an entry or a standby is bound to the session from now on.
    """

    session: bytes
    number: int
    data: bytes
    deadline: int | None
    kept: bool = False
    binds: bool = False


def replies_to(calls: Sequence[Call], decision: Decision) -> list[OutgoingReply]:
    # Grants come first: a client that cancels its standby in the same batch expects nothing after the answer to that.
    # Each is kept, be it an error: sending the request again would not bring it back, for the standby is gone.
    replies = [
        OutgoingReply(grant.standby.session, grant.standby.number, wire.frame(grant.reply), None, kept=True)
        for grant in decision.grants
    ]
    for call, reply in zip(calls, decision.replies, strict=True):
        done = isinstance(reply, wire.Done) and reply.changed
        bound = done and isinstance(call.request, wire.Register) and call.request.bound
        binds = bound or isinstance(reply, wire.Queued)
        replies.append(
            OutgoingReply(call.session, call.number, wire.frame(reply), call.deadline, kept=done, binds=binds)
        )
    return replies


def refusals(calls: Sequence[Call], error: AdsumError) -> list[OutgoingReply]:
    """The same error to every one of these calls."""
    return [
        OutgoingReply(call.session, call.number, wire.frame(wire.failure(call.number, error)), call.deadline)
        for call in calls
    ]
