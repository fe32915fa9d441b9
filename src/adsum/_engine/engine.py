"""The decisions: a batch of deaths and requests in, a `Decision` out.

The order inside a batch is part of the promises. Deaths come before requests, so that no request of the batch meets an
entry whose owner is known to be dead. Sessions that ended come next, then the requests in the order of their arrival,
and missed heartbeats after them, for one may be among the requests. Then slots that became free go to claims that wait.
Exits are noted last, with the departures that all of these have made.

A request goes to the handler of its kind, unless its deadline has passed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import msgspec

from .. import _wire as wire
from ..errors import AdsumError, Timeout
from ..model import Limits, Owner
from . import claiming, cluster_names, handlers, many
from .batch import Batch, Call, Decision, Instant, Kernel
from .draft import View
from .memory import Memory
from .round import Round

R = TypeVar("R", wire.Update, wire.Amend, wire.Unregister, wire.Heartbeat)


class Engine:
    """Decides for one registry, under its limits. `node` is the registry's own, for ids that name none. `memory` is the
    caller's: a decision changes nothing in it."""

    def __init__(self, limits: Limits, kernel: Kernel, memory: Memory, node: str = "") -> None:
        self._limits = limits
        self._node = node
        self._kernel = kernel
        self.memory = memory

    def decide(self, view: View, batch: Batch, now: Instant, dead: Collection[Owner] = ()) -> Decision:
        """Decide one batch. `dead` are owners that died since the kernel was asked; they count as dead throughout."""
        round = Round(self._limits, self._kernel, self.memory, view, now, dead, self._node, batch.hears)
        if batch.hears is not None:
            # First, so that what the hosts say is reported for a moment at which they can be reached, or cannot.
            round.host_draft.report_all()
        # Standbys of ended sessions go first, so that no death in the same batch grants them an id.
        for ended in batch.ended:
            round.succession.end_session(ended.session)
            if round.has_claims:
                round.claims.end_session(ended.session)
        for death in batch.deaths:
            detection = 0.0 if death.noticed is None else (now.monotonic - death.noticed) / 1e9
            round.remove_dead(death.owner, "died", detection)
        for ended in batch.ended:
            round.remove_bound(ended.owner, ended.session)
        replies = [reply_to(round, call) for call in batch.calls]
        for late in batch.late:
            round.note_lateness(late)
        if batch.unreserves:
            round.end_reservations()
        if round.has_claims:
            round.claims.grant_waiting()
        for exited in batch.exits:
            round.draft.note_exit(exited.owner, exited.code)
        return round.decision(batch.deaths, replies)


def reply_to(round: Round, call: Call) -> wire.AnyReply:
    """Carry out one request, or say why not."""
    try:
        if call.deadline < round.now.monotonic:
            raise Timeout(
                "the deadline passed before the registrar came to the request; nothing was changed. Try again, or give "
                "a longer timeout="
            )
        return _carry_out(round, call)
    except AdsumError as error:
        return wire.failure(call.number, error)


def _carry_out(round: Round, call: Call) -> wire.AnyReply:
    match call.request:
        case wire.Register() as request:
            return handlers.register(round, request, call)
        case wire.Update() as request:
            return handlers.update(round, _complete(round, request), call)
        case wire.Amend() as request:
            return handlers.amend(round, _complete(round, request), call)
        case wire.Unregister() as request:
            return handlers.unregister(round, _complete(round, request), call)
        case wire.HandOver() as request:
            return handlers.hand_over(round, request, call)
        case wire.Heartbeat() as request:
            return handlers.heartbeat(round, _complete(round, request), call)
        case wire.StandBy() as request:
            return round.succession.stand_by(request, call, round)
        case wire.Cancel() | wire.Listen() | wire.ExitOf() as request:
            return wire.Done(call.number, [], changed=_changes_no_entry(round, request, call))
        case request:
            return _carry_out_elsewhere(round, request, call)


def _carry_out_elsewhere(
    round: Round,
    request: wire.UpdateMany
    | wire.UnregisterMany
    | wire.Claim
    | wire.Release
    | wire.ApplyRemote
    | wire.StandByEverywhere
    | wire.NameAnswer
    | wire.Retoken,
    call: Call,
) -> wire.AnyReply:
    if isinstance(request, (wire.StandByEverywhere, wire.NameAnswer, wire.Retoken)):
        return cluster_names.carry_out(round, request, call)
    if isinstance(request, wire.ApplyRemote):
        return wire.Done(call.number, [], changed=round.host_draft.carry_out(request))
    if isinstance(request, (wire.Claim, wire.Release)):
        return claiming.carry_out(round, request, call)
    return many.carry_out(round, request, call)


def _changes_no_entry(round: Round, request: wire.Cancel | wire.Listen | wire.ExitOf, call: Call) -> bool:
    """Carry out a request that names no entry. Returns whether a standby was canceled, or an exit noted."""
    if isinstance(request, wire.ExitOf):
        return handlers.note_exit(round, request)
    # `Listen` is answered where the socket is; it never comes here.
    return isinstance(request, wire.Cancel) and round.succession.cancel(call.session, request.stand_by)


def _complete(round: Round, request: R) -> R:
    process_id = round.complete(request.process_id)
    return request if process_id is request.process_id else msgspec.structs.replace(request, process_id=process_id)
