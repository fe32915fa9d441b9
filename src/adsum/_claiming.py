"""Claims of one registry: the requests about them, for `Registry` and `AsyncRegistry` alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from . import _wire as wire
from ._calls import Calls, Write
from ._client.bell import ABSENT_SECONDS
from ._client.claim_call import ClaimCall, ClaimEnd, new_number
from ._client.connection_pool import seconds
from ._client.target import WholeProcess, resolve
from ._instrument import instrument
from ._reads import AnyId
from ._store.query import Conditions
from ._store.sent_query import claimed_query, plain_conditions
from .errors import AdsumError, InvalidQuery, Timeout
from .model import Entry

T = TypeVar("T")

# A registrar has this long to answer a claim that waits less for a slot, and to answer that one waits no more.
ANSWER_SECONDS = 1.0


class PendingClaim(NamedTuple):
    """A claim that is to be sent: its request, and how many seconds it waits for a slot, None for any number."""

    write: Write[wire.Claim]
    timeout: float | None

    @property
    def request(self) -> wire.Claim:
        return self.write.request

    def until(self) -> float | None:
        """When a claim that begins now gives up, on the monotonic clock; None for never."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def too_late(self) -> Timeout:
        """The error where no slot became free in time."""
        request = self.request
        what = "a member that matches the conditions" if request.process_id is None else str(request.process_id)
        return Timeout(
            f"no slot of {what} became free within {self.timeout:g} s, and nothing is claimed; give a longer timeout=, "
            "or register members with more slots="
        )


def pending_claim(
    calls: Calls, id: AnyId | None, process: WholeProcess | None, timeout: float | None, conditions: Mapping[str, Any]
) -> PendingClaim:
    """A checked claim. Errors: `InvalidQuery`, `InvalidProcessId`, `DeadProcess`, `TypeError`, `ValueError`."""
    patience = seconds(timeout)
    write: Write[wire.Claim] = calls._write(instrument.claim, "claim", id)
    with write:
        refuse_where(conditions)
        process_id = None if id is None else calls._id(id)
        query = claimed_query(calls._namespace, conditions, None)
        if process_id is not None and process_id.node:
            query = query.about(process_id, {"namespace": conditions.get("namespace")})
        target = resolve(process)
        if target.member is not None:
            raise TypeError("a slot is claimed for a process: a thread or task holds it by the Claim itself")
        write.request = wire.Claim(
            owner=target.owner,
            number=new_number(),
            namespace=query.namespace,
            conditions=plain_conditions(conditions),
            process_id=process_id,
            may_wait=patience != 0,
        )
    return PendingClaim(write, patience)


def refuse_where(conditions: Mapping[str, Any]) -> None:
    """Errors: `InvalidQuery`."""
    if "where" in conditions:
        raise InvalidQuery(
            "where: the registrar chooses the member, and no function can be sent to it; give conditions"
        )


def claimed_conditions(conditions: Mapping[str, Any]) -> Conditions:
    """The conditions of a claim for the whole cluster: only healthy members match. Errors: `InvalidQuery`."""
    refuse_where(conditions)
    claimed_query("any", conditions, None)
    return cast("Conditions", {**conditions, "health_status": "healthy"})


def pauses(calls: Calls, pending_claim: PendingClaim, until: float | None) -> Iterator[float]:
    """For how many seconds to sleep, and again, until there is a registry: a claim on any member makes none. A claim on
    an id does not wait for one; `send` says that the id is not registered. Errors: `Timeout` at `until`."""
    while _waits_for_registry(calls, pending_claim):
        left = ABSENT_SECONDS if until is None else until - time.monotonic()
        if left <= 0:
            raise fail(pending_claim, pending_claim.too_late())
        yield min(left, ABSENT_SECONDS)


def _waits_for_registry(calls: Calls, pending_claim: PendingClaim) -> bool:
    with pending_claim.write:
        return pending_claim.request.process_id is None and calls.lacks_registry()


def try_now(calls: Calls, pending_claim: PendingClaim) -> Entry | None:
    """Claim a slot that is free, in the caller's thread: no other thread has to be woken. The member's entry, or None.

    A claim that waits is not overtaken, for no member with a free slot matches it."""
    request, client = msgspec.structs.replace(pending_claim.request, may_wait=False), calls._client
    try:
        with pending_claim.write:
            calls._without_registry(request)
            done = client.pool.ask(request, _answer_seconds(calls, pending_claim))
    except BaseException as error:
        if isinstance(error, Timeout) or not isinstance(error, AdsumError):
            # It may have been granted, and no caller will hold it.
            ClaimEnd(client.pipeline, request).send()
        raise
    if not done.entries:
        return None
    _note(calls, request, done.entries[0])
    if pending_claim.write.observer is not None:
        pending_claim.write.observer.succeeded(1, changed=done.changed)
    return done.entries[0]


def send(calls: Calls, pending_claim: PendingClaim, convert: Callable[[Entry], T]) -> ClaimCall[T]:
    """Send a claim. The future gets what `convert` makes of the member's entry; `Timeout` where no slot is free and it
    does not wait."""

    def granted(done: wire.Done) -> T:
        if not done.entries:
            raise pending_claim.too_late()
        _note(calls, pending_claim.request, done.entries[0])
        return convert(done.entries[0])

    write, client = pending_claim.write, calls._client
    call = ClaimCall(write.request, granted, _answer_seconds(calls, pending_claim), write.observer, client.pipeline)
    with write:
        calls._without_registry(write.request)
        client.pipeline.submit(call)
    return call


def _answer_seconds(calls: Calls, pending_claim: PendingClaim) -> float | None:
    """How long the registrar may take to answer at all; None for the registry's own bound. A claim with less patience
    than it takes to answer is for a slot that is free now."""
    own, patience = calls._seconds(None), pending_claim.timeout
    if patience is None or (own is None and patience < ANSWER_SECONDS):
        return own
    return max(patience, min(own or ANSWER_SECONDS, ANSWER_SECONDS))


def _note(calls: Calls, request: wire.Claim, entry: Entry) -> None:
    """The claim is held; closing the registry releases it, if it is this process's."""
    calls.claims[request.number] = request.owner, entry.process_id


def release_request(calls: Calls, request: wire.Claim) -> Write[wire.Release]:
    """The request to end a claim."""
    write: Write[wire.Release] = calls._write(instrument.release, "release", request.process_id)
    with write:
        write.request = wire.Release(owner=request.owner, number=request.number)
    return write


def disown(calls: Calls, pending_claim: PendingClaim) -> None:
    """End a claim that was granted after all, and that no caller will hold."""
    if pending_claim.request.number in calls.claims:
        end_later(calls, pending_claim.request)


def end_later(calls: Calls, request: wire.Claim) -> None:
    """End a claim in the background, however long that takes."""
    calls.claims.pop(request.number, None)
    ClaimEnd(calls._client.pipeline, request).send()


def fail(pending_claim: PendingClaim, error: AdsumError) -> AdsumError:
    """Report the error of a claim whose call was cancelled."""
    if pending_claim.write.observer is not None:
        pending_claim.write.observer.failed(error)
    return error
